"""THE kernel: what a training step means. State in, state out; no I/O, no clock time, no global, no hook."""

from __future__ import annotations

from typing import Any, NamedTuple

from functrain.kernel.backend import Backend
from functrain.kernel.scale import Clip, ScaleRule, gradient_factor, next_scale
from functrain.kernel.state import Player, Report, Scalar, TrainState


class Rule(NamedTuple):
    """One player's rules.

    Attributes:
        clip: how its gradients are bounded.
        scale: how its loss scale moves; None for none.
        skip_nonfinite: an update whose gradient is not finite is skipped, without a loss scale too.
    """

    clip: Clip = Clip()
    scale: ScaleRule | None = None
    skip_nonfinite: bool = False


class Action(NamedTuple):
    """What one player does at one micro-batch.

    Attributes:
        plays: it is the player's turn: it accumulates.
        closes: its window closes with this micro-batch: it updates.
    """

    plays: Scalar = True
    closes: Scalar = True


Rules = tuple[Rule, ...]
Actions = tuple[Action, ...]
Reports = tuple[Report | None, ...]


def accumulate(
    backend: Backend[Any], state: TrainState, batch: Any, player: int = 0, closes: Scalar = False
) -> TrainState:
    """Run forward and backward: add the gradient, weight and loss sums to the player's accumulator.

    Args:
        closes: the window closes with this micro-batch, as far as it is known; a hint for backends whose gradients
            travel.
    """
    return backend.accumulate(state, batch, player, closes)


def update(backend: Backend[Any], rules: Rules, state: TrainState, player: int = 0) -> tuple[TrainState, Report]:
    """Close the player's window: reduce; unscale, mean, clip by one factor; apply; empty the accumulator.

    Args:
        rules: those of all players, in order.

    Returns:
        The state, and what became of the window.
    """
    rule, me = rules[player], state.players[player]
    acc = backend.reduce(me.acc)
    if isinstance(acc.count, int) and acc.count == 0:
        # Every micro-batch was skipped, and the host knows it: there is nothing to apply.
        closed = me._replace(updates=me.updates + 1)
        state = state._replace(clock=state.clock._replace(skipped=state.clock.skipped + 1))
        return state.with_player(player, closed), Report(acc.loss, acc.weight, finite=False)
    factor, finite, norm = gradient_factor(backend, rule.clip, acc, me.scale, rule.skip_nonfinite)
    state = backend.apply(state, player, acc.grads, factor, rule.clip.value, finite)
    scale = me.scale
    if rule.scale is not None and scale is not None:
        scale = next_scale(backend, rule.scale, scale, finite)
    moved = Player(state.players[player].opt, backend.empty(acc), scale, me.updates + 1)
    weightless = acc.weight == 0
    if finite is not True or weightless is not False:
        # A window that weighs nothing was skipped, though an optimizer may move by its momentum.
        skipped = state.clock.skipped + backend.select(finite, backend.select(weightless, 1, 0), 1)
        state = state._replace(clock=state.clock._replace(skipped=skipped))
    return state.with_player(player, moved), Report(acc.loss, acc.weight, norm, finite)


def micro_step(
    backend: Backend[Any], rules: Rules, state: TrainState, batch: Any, actions: Actions, closes: Scalar
) -> tuple[TrainState, Reports]:
    """Take one micro-batch: every player whose turn it is accumulates, and updates where its window closes; one after
    another, so that a later one meets what an earlier one moved.

    Args:
        actions: what each player does, in order.
        closes: any player's window closes, which makes it an update of the run.

    Returns:
        The state at the next micro-batch, and of every player the report of its window, None where it stays open.
    """
    reports: list[Report | None] = []
    for i, (plays, ends) in enumerate(actions):
        if plays is True:
            state = backend.accumulate(state, batch, i, ends)
        elif plays is not False:
            state, _ = backend.when(plays, lambda s, i=i, c=ends: (accumulate(backend, s, batch, i, c), None), state)
        report: Report | None = None
        if ends is True:
            state, report = update(backend, rules, state, i)
        elif ends is not False:
            state, report = backend.when(ends, lambda s, i=i: update(backend, rules, s, i), state)
        reports.append(report)
    clock = state.clock
    clock = clock._replace(batch=clock.batch + 1, update=clock.update + closes)
    return state._replace(clock=clock), tuple(reports)


def step(backend: Backend[Any], rules: Rules, state: TrainState, window: Any) -> tuple[TrainState, Reports]:
    """Run a window of micro-batches: `update(fold(accumulate, state, window))`, for every player.

    Args:
        window: the micro-batches, in a form that the backend's `with_last` takes: a list, say.

    Returns:
        The state, and every player's report.
    """

    def micro(state: TrainState, item: tuple[Any, Scalar]) -> tuple[TrainState, Reports]:
        batch, last = item
        return micro_step(backend, rules, state, batch, (Action(True, last),) * len(rules), last)

    return backend.fold(micro, state, backend.with_last(window))
