"""LambdaCallback: a callback from functions, by the names of hooks. Touches nothing."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from functrain.trainer.callback import Callback
from functrain.trainer.errors import ConfigurationError, nearest
from functrain.trainer.hook_table import CALLBACK, HOOKS, MOMENTS

NAMES = tuple(hook.name for hook in (*HOOKS, *MOMENTS) if CALLBACK in hook.owners)


class LambdaCallback(Callback):
    """Functions in place of a subclass: `LambdaCallback(on_fit_end=lambda trainer, module: print("done"))`.

    Args:
        hooks: any hook of `Callback` by name, or the moments 'log_step', 'checkpoint' and 'should_stop';
            called with what the hook gets, `trainer, pl_module` first. None leaves a hook out.

    Raises:
        ConfigurationError: a name that is no hook, or a value that cannot be called.
    """

    def __init__(self, **hooks: Callable[..., Any] | None) -> None:
        for name, function in hooks.items():
            if name not in NAMES:
                raise ConfigurationError(f"LambdaCallback({name}=...): no such hook.{nearest(name, NAMES)}")
            if function is None:
                continue
            if not callable(function):
                raise ConfigurationError(f"LambdaCallback({name}={function!r}): must be a function.")
            setattr(self, name, function)


LambdaCallback.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in NAMES]
)
