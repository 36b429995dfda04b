"""A module made from a checkpoint, without a Trainer: what its `__init__` is given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from functrain.trainer.checkpoint import check_format, naming
from functrain.trainer.errors import ConfigurationError, nearest
from functrain.trainer.hparams import HyperParameters
from functrain.trainer.overriding import overrides
from functrain.trainer.plain import as_dict
from functrain.trainer.revived import revived
from functrain.trainer.weights import ArraySpecs, check_weights


def module_of(
    cls: Any, checkpoint: Any, path: str, given: Mapping[str, Any], own: Callable[[Any], Any], forms: ArraySpecs,
    hparams: Mapping[str, Any] | None = None, strict: bool | None = True,
) -> tuple[Any, dict[str, Any]]:  # fmt: skip
    """Make a module of a checkpoint, and return it with the weights that the adapter is to put into it.

    Args:
        checkpoint: what was read from the path.
        given: arguments of `__init__`, in place of the stored ones.
        own: returns a module's arrays by name.
        forms: returns their forms.
        hparams: in place of the stored hyperparameters.
        strict: the weights must be the module's exactly; None asks its `strict_loading`, which is True by itself.

    Raises:
        CheckpointError: it is of no version that can be read, or its weights do not fit; names the path.
        ConfigurationError: see `arguments_of`.
    """
    saved = check_format(checkpoint, path)
    module = made(cls, saved, given, hparams, "hyper_parameters", "hparams")
    if overrides(module, "configure_model"):
        module.configure_model()
    if overrides(module, "on_load_checkpoint"):
        module.on_load_checkpoint(saved)
    with naming(path):
        strict = getattr(module, "strict_loading", True) if strict is None else strict
        check_weights(saved, own(module), forms, cls.__name__, bool(strict))
    return module, saved["state_dict"]


def made(
    cls: Any, saved: Mapping[str, Any], given: Mapping[str, Any], hparams: Mapping[str, Any] | None, key: str, name: str
) -> Any:
    """Make a module, or a data module, of a checkpoint, as far as its `__init__` does.

    Args:
        given: arguments of `__init__`, in place of the stored ones.
        hparams: in place of the stored hyperparameters.
        key: what the hyperparameters are called in the checkpoint.
        name: what the entries that tell more of them begin with.

    Raises:
        ConfigurationError: see `arguments_of`.
    """
    stored = hparams
    if stored is None:
        parts = [saved.get(old) for old in (*PAST_NAMES, key)] if key == "hyper_parameters" else [saved.get(key)]
        stored = {each: value for part in parts if part for each, value in as_dict(part, key).items()}
        stored = revived(cls, stored, saved.get(f"{name}_objects"))
    return cls(**arguments_of(cls, stored, given, saved.get(f"{name}_name")))


PAST_NAMES = ("hparams", "module_arguments")
"""What hyperparameters were called in checkpoints of pytorch_lightning before 0.8."""

OF_A_CLI = ("_instantiator", "_class_path")
"""What its command line adds to them."""


def arguments_of(
    cls: type, hparams: Mapping[str, Any], given: Mapping[str, Any], name: str | None = None
) -> dict[str, Any]:
    """Return the arguments for a class's `__init__`: of the stored hyperparameters those that it takes, and the given
    ones, which win.

    Args:
        name: the argument that took all hyperparameters as one object; None in files of older versions, where an
            argument `hparams` is taken for it.

    Raises:
        ConfigurationError: one that it needs is missing, or one of the `given` ones is not among its own.
    """
    if OF_A_CLI[0] in hparams:
        hparams = {key: value for key, value in hparams.items() if key not in OF_A_CLI}
    arguments = _together(cls, hparams, given, name)
    parameters = inspect.signature(cls).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return arguments
    names = {p.name for p in parameters}
    needed = [p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_POSITIONAL]
    missing = [needed_name for needed_name in needed if needed_name not in arguments]
    if missing:
        raise ConfigurationError(
            f"{cls.__name__}.load_from_checkpoint: __init__ needs {', '.join(missing)}, which the checkpoint does not "
            "hold; give them as keyword arguments, or call save_hyperparameters() in __init__ before training."
        )
    for other in given:
        if other in arguments and other not in names:
            raise ConfigurationError(
                f"{cls.__name__}.load_from_checkpoint({other}={given[other]!r}): __init__ has no such argument."
                f"{nearest(other, names)}"
            )
    return {key: value for key, value in arguments.items() if key in names}


def _together(cls: type, hparams: Mapping[str, Any], given: Mapping[str, Any], name: str | None) -> dict[str, Any]:
    """Stored and given arguments; the stored ones all in one where `__init__` takes them so."""
    # pytorch_lightning says 'kwargs' where the arguments were kept one by one.
    signature = inspect.signature(cls).parameters
    parameters = {each: p for each, p in signature.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    takes_them_whole = name is None and "hparams" in parameters and "hparams" not in hparams
    if takes_them_whole:
        name = "hparams"
    if name is None or name not in parameters or name in given:
        return {**hparams, **given}
    own = {key: value for key, value in given.items() if key in parameters}
    rest = {key: value for key, value in given.items() if key not in own}
    return {name: HyperParameters({**hparams, **rest}), **own}
