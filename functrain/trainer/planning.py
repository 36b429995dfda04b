"""From flags and loaders to the kernel's plan and rules. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable

from functrain.kernel.plan import NO_EVENT, Plan, PlayerPlan, after
from functrain.kernel.scale import Clip
from functrain.kernel.state import Clock
from functrain.kernel.window import Schedule
from functrain.trainer.callback import Callback
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.flags import Flags
from functrain.trainer.run import Run

DEFAULT_MAX_EPOCHS = 1000

# Where nothing is due for longer, the loop comes back all the same; what it costs is lost among so many batches.
LONGEST_DISPATCH = 1024


def max_epochs(flags: Flags) -> int | None:
    """Return the limit in epochs; None for no limit. 1000 where the user set no limit of any kind."""
    if flags.max_epochs is None:
        return DEFAULT_MAX_EPOCHS if not limited(flags.max_steps) and flags.max_time is None else None
    return flags.max_epochs if limited(flags.max_epochs) else None


def limited(value: int | None) -> bool:
    """None and -1 are no limit."""
    return value is not None and value != -1


def clip(flags: Flags) -> Clip:
    """Return the rule that bounds gradients."""
    bound = flags.gradient_clip_val or None
    return Clip(value=bound) if flags.gradient_clip_algorithm == "value" else Clip(norm=bound)


def windows_of(flags: Flags, callbacks: Iterable[Callback]) -> Schedule:
    """Batches an update, by epoch: what the flag says, or a callback that was made for it.

    Raises:
        ConfigurationError: two of them say different things.
    """
    windows, said = (
        Schedule(flags.accumulate_grad_batches),
        f"accumulate_grad_batches={flags.accumulate_grad_batches!r}",
    )
    for callback in callbacks:
        wish = callback.accumulation()
        if wish is None:
            continue
        if windows not in (Schedule(1), Schedule(wish)):
            raise ConfigurationError(
                f"Trainer({said}) and {type(callback).__name__}({wish!r}) contradict each other; leave one out."
            )
        windows, said = Schedule(wish), f"callbacks=[{type(callback).__name__}({wish!r})]"
    return windows


def plan_of(run: Run) -> Plan:
    """Return the plan of a fit, once its training loader and its optimizers are known."""
    checkpoints = [n for callback in run.callbacks if (n := callback.every_n_updates())]
    observers = [n for callback in run.callbacks if (n := callback.observes_every_n_updates())]
    logs = bool(run.loggers or run.hooks.log_step)
    windows, batches = windows_of(run.flags, run.callbacks), run.loaders.cap(run.source.batches)
    several = not (run.hooks.per_batch or run.traits.per_batch)
    somebody = logs or bool(observers)
    passes_logs = somebody and several and run.traits.passes_logs and run.logs_may_lag
    return make_plan(run.flags, batches, run.traits.players, checkpoints, windows, logs, passes_logs, observers)


def updates_of(flags: Flags, batches: int | None, windows: Schedule, players: tuple[PlayerPlan, ...]) -> int | float:
    """Return how many updates a fit makes until its limits; infinity where it has none, or where an epoch has an
    unknown number of batches and no limit in steps."""
    steps = flags.max_steps if flags.max_steps is not None and limited(flags.max_steps) else math.inf
    epochs = max_epochs(flags)
    if epochs is None or batches is None:
        return steps
    plan = make_plan(flags, batches, players, (), windows)
    updates, end = 0, epochs
    for start, _ in windows.starts:
        if start < end:
            updates += (end - start) * after(plan, Clock(epoch=start), batches).update
            end = start
    return min(steps, updates)


def make_plan(
    flags: Flags,
    batches: int | None,
    players: tuple[PlayerPlan, ...],
    checkpoints: Iterable[int],
    windows: Schedule,
    logs: bool = True,
    passes_logs: bool = False,
    observers: Iterable[int] = (),
) -> Plan:
    """Return what is due when, for a training loader of so many batches (None: unknown).

    Args:
        checkpoints: intervals, in updates, at which checkpoint callbacks want to act.
        windows: batches an update, by epoch.
        logs: somebody reads step metrics; where nobody does, no dispatch ends for them.
        passes_logs: nor where they may be read later.
        observers: intervals, in updates, at which callbacks want to observe the state.

    Raises:
        ConfigurationError: the validation interval does not fit the loader.
    """
    steps = flags.max_steps if limited(flags.max_steps) else None
    return Plan(
        batches=batches,
        windows=windows,
        players=players,
        max_epochs=max_epochs(flags),
        max_steps=steps,
        min_epochs=1 if flags.min_epochs is None else flags.min_epochs,
        min_steps=flags.min_steps or 0,
        val_batches=val_batches(flags.val_check_interval, batches, flags.check_val_every_n_epoch is None),
        val_epochs=flags.check_val_every_n_epoch,
        log_updates=flags.log_every_n_steps if logs else NO_EVENT,
        flush_updates=flags.flush_logs_every_n_steps,
        observe_updates=tuple(observers),
        checkpoint_updates=tuple(checkpoints),
        dispatch=LONGEST_DISPATCH,
        passes_logs=passes_logs,
    )


def val_batches(interval: int | float, batches: int | None, across_epochs: bool = False) -> int | None:
    """Validate after every so many batches, of an epoch or across epochs; None: when the loader has ended."""
    if isinstance(interval, int):
        is_never_reached = batches is not None and interval > batches and not across_epochs
        if is_never_reached:
            raise ConfigurationError(
                f"Trainer(val_check_interval={interval}): an epoch has only {batches} batches; use at most {batches}, "
                "or count across epochs with check_val_every_n_epoch=None."
            )
        return interval
    if batches is not None:
        return max(1, int(batches * interval))
    if interval == 1.0:
        return None
    raise ConfigurationError(
        f"Trainer(val_check_interval={interval!r}): the training loader has no length, so give an int number of "
        "batches."
    )
