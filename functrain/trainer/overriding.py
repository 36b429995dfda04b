"""Which methods of a module, a callback or a data module are its own, and not a base class's empty ones."""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, TypeVar

from functrain.trainer.hook_table import BY_NAME, LOADER_METHODS, STEPS

Owner = TypeVar("Owner")


def overrides(owner: object, name: str) -> bool:
    """Return whether the owner defines this hook itself. A base class of ours marks its own empty ones with
    `_functrain_default`."""
    method = getattr(owner, name, None)
    return method is not None and not getattr(method, "_functrain_default", False)


# The top-level packages whose classes are not looked at for misspelt methods.
NOT_THE_USERS = frozenset(
    {"builtins", "flax", "functrain", "functrain_jax", "functrain_torch", "functrain_xla", "torch"}
)


def warn_of_misspelt(owner: object) -> None:
    """Warn of methods of the owner's own classes that are called almost as a hook, a step or a loader is."""
    known = {*BY_NAME, *STEPS, *LOADER_METHODS}
    for base in type(owner).__mro__:
        if base.__module__.split(".")[0] in NOT_THE_USERS:
            continue
        for name, value in vars(base).items():
            is_none_of_ours = name in known or name.startswith("_") or not inspect.isfunction(value)
            if is_none_of_ours:
                continue
            for meant in difflib.get_close_matches(name, known, n=1, cutoff=0.93):
                warnings.warn(
                    f"{base.__name__}.{name} is never called: did you mean {meant!r}?", UserWarning, stacklevel=6
                )


def default(method: Callable[Concatenate[Owner, ...], Any]) -> Callable[Concatenate[Owner, ...], Any]:
    """Mark a base class's own method as the default, which does not count as overriding the hook.

    To a type checker it takes and returns anything, since an override takes those arguments that it uses.
    """
    method._functrain_default = True  # type: ignore[attr-defined]
    return method


def hook(method: Callable[Concatenate[Owner, ...], Any]) -> Callable[Concatenate[Owner, ...], Any]:
    """A hook as it is written in a base class: signature and doc are for readers, and to call it does nothing.

    So `super().on_train_epoch_end()` is right with all, some or none of the hook's arguments.
    """

    @wraps(method)
    def empty(self: Owner, *args: Any, **named: Any) -> None:
        return None

    return default(empty)
