"""What is due when: pure predicates of (Plan, Clock). No loop state, no counters, no clock time.

A plan is made once, when the lengths of the loaders are known. Every "every n" here names its unit, and
everything is a function of the position alone: a resumed run finds the same events at the same places.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache
from itertools import accumulate
from math import gcd, lcm
from typing import Any, NamedTuple

from functrain.kernel.state import Clock
from functrain.kernel.step import Action
from functrain.kernel.window import Schedule

ALWAYS = Action(True, True)
NO_EVENT = 1 << 30


class PlayerPlan(NamedTuple):
    """When one player moves.

    Attributes:
        window: micro-batches an update; None follows the plan's schedule.
        turn: (first, length, cycle): it plays the batches b with first <= b % cycle < first + length;
            None plays all.
    """

    window: int | None = None
    turn: tuple[int, int, int] | None = None


class Plan(NamedTuple):
    """Limits and intervals of a fit, in the units that their names say.

    Attributes:
        batches: batches an epoch; None where a loader has no length.
        windows: micro-batches an update, by epoch.
        players: when each player moves.
        max_epochs, max_steps: whichever comes first stops; None is no limit. Steps are updates.
        min_epochs, min_steps: a stop that was asked for waits for both.
        val_batches: validate after every so many batches, counted from the epoch's start; None never
            within an epoch.
        val_epochs: validate in every so many epochs; None counts `val_batches` on from epoch to epoch.
        val_before: the batches of the epochs before this one, which count there.
        log_updates: write step metrics every so many updates.
        flush_updates: have the loggers written out every so many updates, where step metrics are written.
        observe_updates: have the state observed every so many updates; empty for never.
        checkpoint_updates: let the checkpoint callbacks act every so many updates; empty for none.
        dispatch: at most so many batches are handed to the backend at once.
        passes_logs: a dispatch runs past the places where step metrics are written, and where the state is observed;
            whoever trains keeps what they were there.
    """

    batches: int | None
    windows: Schedule = Schedule(1)
    players: tuple[PlayerPlan, ...] = (PlayerPlan(),)
    max_epochs: int | None = None
    max_steps: int | None = None
    min_epochs: int = 0
    min_steps: int = 0
    val_batches: int | None = None
    val_epochs: int | None = 1
    val_before: int = 0
    log_updates: int = 50
    flush_updates: int = NO_EVENT
    observe_updates: tuple[int, ...] = ()
    checkpoint_updates: tuple[int, ...] = ()
    dispatch: int = NO_EVENT
    passes_logs: bool = False


def actions(plan: Plan, epoch: int, batch: int) -> tuple[Action, ...]:
    """Return who plays and whose window closes at batch number `batch` (from 0) of the epoch."""
    if plan.players != (PlayerPlan(),):
        return actions_of(plan, epoch, batch)
    last = plan.batches is not None and batch + 1 >= plan.batches
    return (ALWAYS if last or (batch + 1) % plan.windows.at(epoch) == 0 else Action(True, False),)


def actions_of(plan: Plan, epoch: int, batch: Any) -> tuple[Action, ...]:
    """As `actions`; `batch` may be an array of numbers of batches, and the actions hold arrays of bools then."""
    last = plan.batches is not None and batch + 1 >= plan.batches
    return actions_at(plan.players, plan.windows.at(epoch), batch, last)


def actions_at(players: tuple[PlayerPlan, ...], size: Any, batch: Any, last: Any) -> tuple[Action, ...]:
    """Return what the players do at batch number `batch` of an epoch with windows of `size`. `last`: does the epoch end
    with it? What is no Python value may be an array, or traced."""
    return tuple(_action(player, player.window or size, batch, last) for player in players)


def _action(player: PlayerPlan, size: int, batch: Any, last: Any) -> Action:
    if player.turn is None:
        return Action(True, last | ((batch + 1) % size == 0))
    first, length, cycle = player.turn
    place = batch % cycle
    plays, has_played = (first <= place) & (place < first + length), first + length <= place
    played = batch // cycle * length + plays * (place - first + 1) + has_played * length
    held = played % size
    # A player whose turn is over may still hold an open window: at the end it steps with what it has.
    return Action(plays, (plays & (held == 0)) | (last & (plays | (held > 0))))


def closes(plan: Plan, epoch: int, batch: int) -> bool:
    """Return whether any window closes at this batch."""
    return any(action.closes for action in actions(plan, epoch, batch))


def epoch_over(plan: Plan, clock: Clock) -> bool:
    """Return whether every batch of the epoch has been seen. Never true for a loader without a length: it ends by
    itself."""
    return plan.batches is not None and clock.batch >= plan.batches


def at_limit(plan: Plan, clock: Clock) -> bool:
    """Return whether a maximum has been reached."""
    return (plan.max_epochs is not None and clock.epoch >= plan.max_epochs) or (
        plan.max_steps is not None and clock.update >= plan.max_steps
    )


def may_stop(plan: Plan, clock: Clock) -> bool:
    """Return whether a stop that a callback asked for may happen now. Only when both minima are met."""
    return clock.epoch >= plan.min_epochs and clock.update >= plan.min_steps


def passed(every: int, before: int, now: int) -> bool:
    """Return whether a multiple of `every` has been reached on the way from `before` to `now`.

    The one rule for every interval: several updates may fall into one batch or one dispatch, so that a multiple is run
    past more often than it is met.
    """
    return now // every > before // every


def log_due(plan: Plan, clock: Clock, before: int) -> bool:
    """Return whether step metrics are written now. `before`: the updates when the last dispatch began."""
    return passed(plan.log_updates, before, clock.update)


def observe_due(plan: Plan, clock: Clock, before: int) -> bool:
    """Return whether the state is observed now. `before`: the updates when the last dispatch began."""
    return any(passed(every, before, clock.update) for every in plan.observe_updates)


def flush_due(plan: Plan, clock: Clock, before: int) -> bool:
    """Return whether the loggers are written out with these step metrics. Where an interval has ended since the last
    ones were due."""
    return passed(plan.flush_updates, before - before % plan.log_updates, clock.update)


def reaches_log(plan: Plan, clock: Clock) -> bool | None:
    """Return whether step metrics will still be written before a limit ends the run. None where the epochs have no
    known length."""
    goal = (clock.update // plan.log_updates + 1) * plan.log_updates
    if plan.max_steps is not None and plan.max_steps < goal:
        return False
    if plan.max_epochs is None:
        return True
    if plan.batches is None:
        return None
    while clock.update < goal and clock.epoch < plan.max_epochs:
        clock = after(plan, clock, plan.batches - clock.batch).next_epoch()
    return clock.update >= goal


def validate_due(plan: Plan, clock: Clock) -> bool:
    """Return whether validation is due within the epoch, after this batch."""
    if plan.val_batches is None or clock.batch == 0 or not in_turn(plan, clock):
        return False
    batches = _val_counted(plan, clock)
    return passed(plan.val_batches, batches - 1, batches)


def _val_counted(plan: Plan, clock: Clock) -> int:
    """Return the batches that the validation's interval is counted by."""
    return clock.batch + (plan.val_before if plan.val_epochs is None else 0)


def in_turn(plan: Plan, clock: Clock) -> bool:
    """Return whether this is one of the epochs that validate."""
    return plan.val_epochs is None or passed(plan.val_epochs, clock.epoch, clock.epoch + 1)


def validate_at_end(plan: Plan, clock: Clock) -> bool:
    """Return whether validation is due where the epoch has ended at a place that could not be foreseen.

    Where the interval is the whole epoch: no number is given, or the one that the epoch was to have, and it had less.
    """
    every = plan.val_batches
    if plan.val_epochs is None:
        return False
    shorter = plan.batches is not None and every == plan.batches and clock.batch < plan.batches
    return (every is None or shorter) and in_turn(plan, clock)


def checkpoint_due(plan: Plan, clock: Clock, before: int) -> bool:
    """Return whether a checkpoint interval has been reached since the last dispatch began, at `before` updates."""
    return any(passed(every, before, clock.update) for every in plan.checkpoint_updates)


def batches_to_event(plan: Plan, clock: Clock) -> int:
    """Return how many batches until the host must look: the next log, observation, validation, checkpoint, limit or
    epoch's end.

    Law, for a run that is neither at its limit nor at its epoch's end: before the batch that this names,
    nothing is due and `may_stop` says what it says here; at that batch something is due, or `may_stop` turns
    true, or the dispatch limit is reached. With `passes_logs` the host need not look at a log or an observation.
    """
    ahead = plan.dispatch
    if plan.batches is not None:
        ahead = min(ahead, plan.batches - clock.batch)
    if plan.val_batches is not None and in_turn(plan, clock):
        ahead = min(ahead, plan.val_batches - _val_counted(plan, clock) % plan.val_batches)
    every = plan.checkpoint_updates if plan.passes_logs else (*_noted_updates(plan), *plan.checkpoint_updates)
    updates = min((n - clock.update % n for n in every), default=NO_EVENT)
    if plan.max_steps is not None:
        updates = min(updates, max(plan.max_steps - clock.update, 1))
    if plan.min_steps > clock.update and clock.epoch >= plan.min_epochs:
        updates = min(updates, plan.min_steps - clock.update)
    return batches_to_update(plan, clock, updates, max(1, ahead))


def noted_places(plan: Plan, clock: Clock, batches: int) -> list[int]:
    """Return the next so many batches in parts, each of which ends where step metrics are written or the state is
    observed, but for the last, which may end elsewhere: after how many batches each part ends."""
    ends: list[int] = []
    done, now = 0, clock
    while done < batches:
        updates = min(every - now.update % every for every in _noted_updates(plan))
        count = batches_to_update(plan, now, updates, batches - done)
        done, now = done + count, after(plan, now, count)
        ends.append(done)
    return ends


def _noted_updates(plan: Plan) -> tuple[int, ...]:
    return plan.log_updates, *plan.observe_updates


def batches_to_update(plan: Plan, clock: Clock, updates: int, ahead: int) -> int:
    """Return how many batches until so many more updates are done, at most `ahead`."""
    if plan.players == (PlayerPlan(),):
        size = plan.windows.at(clock.epoch)
        return min(ahead, updates * size - clock.batch % size)
    goal = _updates_before(plan, clock.epoch, clock.batch) + updates
    batches = range(clock.batch + 1, clock.batch + ahead)
    return 1 + bisect_left(batches, goal, key=lambda batch: _updates_before(plan, clock.epoch, batch))


def after(plan: Plan, clock: Clock, batches: int) -> Clock:
    """Return the position after so many more batches of this epoch."""
    batch = clock.batch + batches
    closed = _updates_before(plan, clock.epoch, batch) - _updates_before(plan, clock.epoch, clock.batch)
    return clock._replace(batch=batch, update=clock.update + closed)


def _updates_before(plan: Plan, epoch: int, batch: int) -> int:
    """In how many of the epoch's first `batch` batches a window closes."""
    size = plan.windows.at(epoch)
    if plan.batches is not None and batch >= plan.batches:
        # What is open closes with the last batch.
        last = plan.batches - 1
        return _updates_before(plan, epoch, last) + closes(plan, epoch, last)
    if plan.players == (PlayerPlan(),):
        return batch // size
    updates = _updates_of_period(plan.players, size)
    periods, rest = divmod(batch, len(updates) - 1)
    return periods * updates[-1] + updates[rest]


@lru_cache(maxsize=64)
def _updates_of_period(players: tuple[PlayerPlan, ...], size: int) -> tuple[int, ...]:
    """Return the updates before each batch of the shortest time after which all players are as at an epoch's start, and
    those of the whole of it. It is the same for a whole run, so it is kept."""
    plan, period = Plan(None, Schedule(size), players), lcm(*(_period(player, size) for player in players))
    return tuple(accumulate((closes(plan, 0, batch) for batch in range(period)), initial=0))


def _period(player: PlayerPlan, size: int) -> int:
    """After how many batches a player is as at an epoch's start."""
    size = player.window or size
    if player.turn is None:
        return size
    _, length, cycle = player.turn
    return cycle * size // gcd(length, size)
