"""The base class of callbacks: every documented hook, empty. Touches nothing.

An empty hook does not count as overridden, so a callback costs only what it defines. Beside the hooks a callback may
act at the Trainer's own events, in the fixed order log, validate, checkpoint, stop; the plan is told when they are due.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from functrain.trainer.hooks import CALLBACK, HOOKS, Hook, default


class Callback:
    """A piece of a run that is not the model: subclass it and define the hooks that you need.

    Each hook takes `(self, trainer, pl_module, ...)` and may leave out arguments that it does not use. See the table of
    hooks for their order and arguments.

    Beside the hooks, at the Trainer's own events:

    - `log_step(trainer, pl_module, metrics)`: step metrics are about to be written; may add to `metrics`. With
      `may_lag = True` a class says of its own that it looks at these, the position and the learning rates only, and
      stops nothing: so it may be called, as if it were then, when a compiled run is some steps further.
    - `checkpoint(trainer, pl_module, moment)`: the state is whole and may be saved; moment is 'steps', 'validation',
      'epoch' or 'interrupt'.
    - `should_stop(trainer, pl_module, moment)`: after the checkpoint; moment is 'validation' or 'epoch'.
    - `tick(trainer, pl_module)`: the host has control anyway, at most every `tick_seconds`.
    - `every_n_updates()`: ask for the 'steps' moment every so many updates; None for never.
    - `accumulation()`: batches an update, by epoch, for a callback that decides them; None leaves it to the flag.
    """

    tick_seconds: float | None = None
    may_lag = False

    def log_step(self, trainer: Any, pl_module: Any, metrics: dict[str, Any]) -> None:
        """Step metrics are about to be written."""

    def checkpoint(self, trainer: Any, pl_module: Any, moment: str) -> None:
        """The state is whole and may be saved."""

    def should_stop(self, trainer: Any, pl_module: Any, moment: str) -> None:
        """May set `trainer.should_stop`; checkpoints of this moment are written."""

    def tick(self, trainer: Any, pl_module: Any) -> None:
        """The host has control anyway."""

    def every_n_updates(self) -> int | None:
        """The interval of the 'steps' moment, in updates."""
        return None

    def accumulation(self) -> Mapping[int, int] | None:
        """{epoch: batches an update from that epoch on}; None leaves them to `accumulate_grad_batches`."""
        return None

    @property
    def state_key(self) -> str:
        """The name of this callback's state in a checkpoint; make it differ where several of a class are used."""
        return type(self).__qualname__

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of this callback: plain values and arrays."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""


def _empty(hook: Hook) -> Callable[..., Any]:
    def method(self: Callback, *args: Any, **kwargs: Any) -> None: ...

    method.__name__ = hook.name
    method.__qualname__ = f"Callback.{hook.name}"
    method.__doc__ = f"Called when: {hook.doc}. Arguments: trainer, pl_module{''.join(', ' + a for a in hook.args)}."
    return default(method)


for _hook in HOOKS:
    if CALLBACK in _hook.owners:
        setattr(Callback, _hook.name, _empty(_hook))
for _name in ("log_step", "checkpoint", "should_stop", "tick"):
    default(getattr(Callback, _name))
