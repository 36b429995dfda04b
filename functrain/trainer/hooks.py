"""Who overrides which hook: resolved once, at the start of a run. Touches no framework.

A hook that nobody overrides is `None` in the resolved table, so asking costs an attribute. A hook gets those of its
documented arguments that its own signature takes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from functrain.trainer.hook_table import CALLBACK, DATA, HOOKS, MODULE, MOMENTS, Hook
from functrain.trainer.overriding import overrides
from functrain.trainer.signatures import adapt, named
from functrain.trainer.spans import Span, unmeasured
from functrain.trainer.step_outputs import returning_nothing

Handlers = tuple[tuple[str, Callable[..., Any]], ...]
"""Who acts at a hook or at a moment, in order: the owner's key, and what is called."""


def keyed(callbacks: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """Yield the callbacks by the names that checkpoints know them by; a name's second owner is `name#2`, and so on."""
    seen: dict[str, int] = {}
    for callback in callbacks:
        key = callback.state_key
        seen[key] = seen.get(key, 0) + 1
        yield key if seen[key] == 1 else f"{key}#{seen[key]}", callback


GIVE_NOTHING = ("training_epoch_end", "validation_epoch_end", "test_epoch_end")
"""Hooks whose result was logged before there was `self.log`."""


class Logging(Protocol):
    """Who keeps what hooks log."""

    def in_hook(self, name: str, call: Callable[..., Any], /) -> Callable[..., Any]:
        """Return the call of a hook, known by its name while it lasts to who keeps what it logs."""
        ...


class Hooks:
    """The resolved hooks of one run: an attribute a hook, `None` where nobody overrides it, else one callable.

    `calls` has the owners' own functions by hook, each with its owner's key, for those who call them one by one; of the
    Trainer's own moments each is an attribute of that form.

    A hook of several owners calls the data module first, then the callbacks in their order, then the module; it returns
    what the last owner that returned something returned (-1 from anybody counts, for `on_train_batch_start`).
    """

    observe: Handlers
    log_step: Handlers
    checkpoint: Handlers
    should_stop: Handlers

    def __init__(
        self,
        trainer: object,
        module: object,
        callbacks: Iterable[object],
        data: object | None,
        metrics: Logging,
        span: Span = unmeasured,
    ) -> None:
        callbacks = tuple(callbacks)
        self.calls: dict[str, Handlers] = {}
        for hook in HOOKS:
            own = _calls(hook, trainer, module, callbacks, data)
            self.calls[hook.name] = calls = tuple(
                (key, span(what, metrics.in_hook(hook.name, call))) for key, what, call in own
            )
            setattr(self, hook.name, _together(tuple(call for _, call in calls)))
        for moment in MOMENTS:
            own = _calls(moment, trainer, module, callbacks, data)
            setattr(self, moment.name, tuple((key, span(what, call)) for key, what, call in own))
        self.takes_outputs: frozenset[str] = frozenset(
            hook.name for hook in HOOKS if "outputs" in hook.args and _takes_outputs(hook, callbacks, module)
        )
        self.per_batch: bool = any(hook.per_batch and getattr(self, hook.name) is not None for hook in HOOKS)

    def __getattr__(self, name: str) -> Callable[..., Any] | None:
        raise AttributeError(f"no hook {name!r} in functrain.trainer.hook_table.HOOKS.")

    def call(self, name: str, *args: Any) -> Any:
        """Call a hook by name if anybody overrides it."""
        hook = getattr(self, name)
        return None if hook is None else hook(*args)

    def call_or(self, name: str, otherwise: Callable[[], object]) -> None:
        """Call a hook by name, or `otherwise` where nobody overrides it."""
        hook = getattr(self, name)
        (otherwise if hook is None else hook)()


def _calls(
    hook: Hook, trainer: object, module: object, callbacks: tuple[object, ...], data: object | None
) -> Iterator[tuple[str, str, Callable[..., Any]]]:
    """Yield who is called at a hook, in order: the owner's key, 'Class.hook', the call."""
    asks_data = DATA in hook.owners and data is not None and overrides(data, hook.name)
    if asks_data:
        what = f"{type(data).__name__}.{hook.name}"
        yield DATA, what, adapt(getattr(data, hook.name), hook.args, what)
        stands_for_module = MODULE in hook.owners and CALLBACK not in hook.owners and hook.args
        if stands_for_module:
            return  # a data module's transfer hooks stand for the module's
    if CALLBACK in hook.owners and hook.name not in ("on_save_checkpoint", "on_load_checkpoint"):
        for key, callback in keyed(callbacks):
            if overrides(callback, hook.name):
                what = f"{type(callback).__name__}.{hook.name}"
                yield key, what, _bound(getattr(callback, hook.name), hook, trainer, module, what)
    if MODULE in hook.owners and overrides(module, hook.name):
        method, what = getattr(module, hook.name), f"{type(module).__name__}.{hook.name}"
        call = adapt(method, hook.args, what, hook.rest)
        yield MODULE, what, returning_nothing(call, what) if hook.name in GIVE_NOTHING else call


def _takes_outputs(hook: Hook, callbacks: tuple[object, ...], module: object) -> bool:
    """Return whether anybody's own hook takes the outputs. Not by `*args`, except for `<stage>_epoch_end`, which is
    about them."""
    owners = [(callback, ("trainer", "pl_module", *hook.args)) for callback in callbacks]
    for owner, args in (*owners, (module, hook.args)):
        if overrides(owner, hook.name):
            method = getattr(owner, hook.name)
            is_about_them = not hook.name.startswith("on_") and bool(inspect.signature(method).parameters)
            if is_about_them or "outputs" in named(method, args, f"{type(owner).__name__}.{hook.name}"):
                return True
    return False


def _bound(method: Callable[..., Any], hook: Hook, trainer: object, module: object, what: str) -> Callable[..., Any]:
    if hook.name in ("on_init_start", "on_init_end"):
        return lambda: method(trainer)
    call = adapt(method, ("trainer", "pl_module", *hook.args), what)
    return lambda *args: call(trainer, module, *args)


def _together(calls: tuple[Callable[..., Any], ...]) -> Callable[..., Any] | None:
    if len(calls) <= 1:
        return calls[0] if calls else None

    def every(*args: Any) -> Any:
        result = None
        for call in calls:
            given = call(*args)
            if given is not None:
                result = given
        return result

    return every
