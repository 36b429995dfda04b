"""A module from a checkpoint, without a Trainer: hyperparameters to `__init__`, weights into its state."""

from __future__ import annotations

import inspect
from typing import Any

import jax

from functrain.kernel.state import TrainState
from functrain.trainer.checkpoint import check_format
from functrain.trainer.errors import CheckpointError, ConfigurationError
from functrain_jax.binding import Bindings
from functrain_jax.checkpoint import read
from functrain_jax.placement import OneDevice
from functrain_jax.snapshot import differences, rebuilt, weights


def load_module(cls: Any, path: str, overrides: dict[str, Any]) -> Any:
    """See `functrain_jax.Module.load_from_checkpoint`."""
    saved = check_format(read(path), path)
    if "state_dict" not in saved:
        raise CheckpointError(f"{path}: has no weights (no 'state_dict').")
    module = cls(**_arguments(cls, saved.get("hyper_parameters", {}), overrides))
    hook = getattr(module, "on_load_checkpoint", None)
    if hook is not None:
        hook(saved)
    binding = Bindings(module)
    params, vars_ = binding.collect()
    own = weights(TrainState(params, (), vars_))
    differs = differences(saved["state_dict"], own)
    if differs:
        raise CheckpointError(f"{path}: is of another module than {cls.__name__}: {differs}.")
    placement = OneDevice(jax.devices()[0])
    new = rebuilt(saved["state_dict"], params), rebuilt(saved["state_dict"], vars_)
    binding.publish(*placement.state(new))
    return module


def _arguments(cls: Any, saved: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """The saved hyperparameters that `__init__` takes, with the overrides in their place."""
    parameters = inspect.signature(cls).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return {**saved, **overrides}
    names = {p.name for p in parameters}
    given = {**saved, **overrides}
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    missing = [p.name for p in parameters if p.default is p.empty and p.kind not in kinds and p.name not in given]
    if missing:
        raise ConfigurationError(
            f"{cls.__name__}.load_from_checkpoint: __init__ needs {', '.join(missing)}, which the checkpoint does "
            "not hold; give them as keyword arguments, or call save_hyperparameters() in __init__ before training."
        )
    return {**{name: value for name, value in saved.items() if name in names}, **overrides}
