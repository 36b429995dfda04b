"""Hyperparameters and attributes, by the older names of the functions that handle them."""

from __future__ import annotations

import inspect
import pickle
from argparse import Namespace
from types import FrameType
from typing import Any

from functrain.trainer.hparams import HyperParameters, HyperparametersMixin

AttributeDict = HyperParameters


def str_to_bool_or_str(value: str) -> bool | str:
    """Return what a word says: yes and no in their usual forms as a bool, any other as it is."""
    word = value.lower()
    if word in ("y", "yes", "t", "true", "on", "1"):
        return True
    return False if word in ("n", "no", "f", "false", "off", "0") else value


def str_to_bool(value: str) -> bool:
    """Return what a word says.

    Raises:
        ValueError: it is neither yes nor no.
    """
    found = str_to_bool_or_str(value)
    if isinstance(found, bool):
        return found
    raise ValueError(f"invalid truth value {value!r}: give 'true' or 'false'.")


def str_to_bool_or_int(value: str) -> bool | int | str:
    """Return a word as a bool or an int where it is one; any other as it is."""
    found = str_to_bool_or_str(value)
    if isinstance(found, bool):
        return found
    try:
        return int(found)
    except ValueError:
        return found


def is_picklable(obj: object) -> bool:
    """Return whether `pickle` takes it."""
    try:
        pickle.dumps(obj)
    except Exception:  # whatever an object's own methods raise
        return False
    return True


def clean_namespace(hparams: Namespace | dict[str, Any]) -> None:
    """Remove what cannot be pickled, in place."""
    held = hparams if isinstance(hparams, dict) else vars(hparams)
    for name in [name for name, value in held.items() if not is_picklable(value)]:
        del held[name]


def flatten_dict(source: dict[str, Any], result: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the innermost entries of nested dicts in one."""
    result = {} if result is None else result
    for name, value in source.items():
        if isinstance(value, dict):
            flatten_dict(value, result)
        else:
            result[name] = value
    return result


def get_init_args(frame: FrameType) -> dict[str, Any]:
    """Return the arguments of the `__init__` that runs in a frame; nothing where none does."""
    given = inspect.getargvalues(frame)
    if "__class__" not in given.locals:
        return {}
    named = {name: given.locals[name] for name in given.args[1:]}
    return {**named, **(given.locals.get(given.keywords, {}) if given.keywords else {})}


def save_hyperparameters(obj: HyperparametersMixin, *args: Any, ignore: Any = None, frame: Any = None) -> None:
    """`obj.save_hyperparameters(*args, ignore=...)`, called in an `__init__`."""
    caller = inspect.currentframe()
    frame = frame or (None if caller is None else caller.f_back)
    obj.save_hyperparameters(*args, ignore=ignore, frame=frame)


def _owners(model: Any, attribute: str) -> list[Any]:
    """Return who has an attribute: the module, its hyperparameters, its data module, in that order."""
    trainer = getattr(model, "trainer", None)
    hparams, data = getattr(model, "hparams", None), getattr(trainer, "datamodule", None)
    found: list[Any] = [model] if hasattr(model, attribute) else []
    for owner in (hparams, getattr(data, "hparams", None)):
        if owner is not None and attribute in (owner if isinstance(owner, dict) else vars(owner)):
            found.append(owner)
    return [*found, data] if data is not None and hasattr(data, attribute) else found


def lightning_hasattr(model: Any, attribute: str) -> bool:
    """Return whether the module, its hyperparameters or its data module has an attribute."""
    return bool(_owners(model, attribute))


def lightning_getattr(model: Any, attribute: str) -> Any:
    """Return it, of the last that has it: the data module's before the module's.

    Raises:
        AttributeError: none has.
    """
    owner = _last_owner(model, attribute)
    return owner[attribute] if isinstance(owner, dict) else getattr(owner, attribute)


def lightning_setattr(model: Any, attribute: str, value: Any) -> None:
    """Set it with all that have it.

    Raises:
        AttributeError: none has.
    """
    _last_owner(model, attribute)
    for owner in _owners(model, attribute):
        if isinstance(owner, dict):
            owner[attribute] = value
        else:
            setattr(owner, attribute, value)


def _last_owner(model: Any, attribute: str) -> Any:
    owners = _owners(model, attribute)
    if not owners:
        raise AttributeError(
            f"{attribute!r}: neither {type(model).__name__}, nor its hyperparameters or data module, has it."
        )
    return owners[-1]
