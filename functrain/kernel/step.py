"""THE kernel: what a training step means. State in, state out; no I/O, no clock time, no global, no hook."""

from __future__ import annotations

from typing import Any, NamedTuple

from functrain.kernel.backend import Backend
from functrain.kernel.scale import Clip, ScaleRule, gradient_factor, next_scale
from functrain.kernel.state import Player, Report, Scalar, TrainState


class Rule(NamedTuple):
    """One player's rules: how its gradients are bounded and its loss is scaled; are bad gradients skipped?"""

    clip: Clip = Clip()
    scale: ScaleRule | None = None
    skip_nonfinite: bool = False


class Turn(NamedTuple):
    """One player at one micro-batch: does it play, and does its window close with it?"""

    plays: Scalar = True
    closes: Scalar = True


Rules = tuple[Rule, ...]
Turns = tuple[Turn, ...]
Reports = tuple[Report | None, ...]


def accumulate(
    backend: Backend[Any], state: TrainState, batch: Any, player: int = 0, closes: Scalar = False
) -> TrainState:
    """Run forward and backward: add the gradient, weight and loss sums to the player's accumulator."""
    return backend.accumulate(state, batch, player, closes)


def update(backend: Backend[Any], rules: Rules, state: TrainState, player: int = 0) -> tuple[TrainState, Report]:
    """Close the player's window: reduce; unscale, mean, clip by one factor; apply; empty the accumulator."""
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


def play(
    backend: Backend[Any], rules: Rules, state: TrainState, batch: Any, turns: Turns, closes: Scalar
) -> tuple[TrainState, Reports]:
    """One micro-batch. Every player whose turn it is accumulates, and updates where its window closes; one
    after another, so that a later one meets what an earlier one moved. `closes`: does any window close?"""
    reports: list[Report | None] = []
    for i, (plays, closing) in enumerate(turns):
        if plays is True:
            state = backend.accumulate(state, batch, i, closing)
        elif plays is not False:
            state, _ = backend.when(plays, lambda s, i=i, c=closing: (accumulate(backend, s, batch, i, c), None), state)
        report: Report | None = None
        if closing is True:
            state, report = update(backend, rules, state, i)
        elif closing is not False:
            state, report = backend.when(closing, lambda s, i=i: update(backend, rules, s, i), state)
        reports.append(report)
    clock = state.clock
    clock = clock._replace(batch=clock.batch + 1, update=clock.update + closes)
    return state._replace(clock=clock), tuple(reports)


def step(backend: Backend[Any], rules: Rules, state: TrainState, window: Any) -> tuple[TrainState, Reports]:
    """Run a window of micro-batches: `update(fold(accumulate, state, window))`, for every player."""

    def micro(state: TrainState, item: tuple[Any, Scalar]) -> tuple[TrainState, Reports]:
        batch, last = item
        return play(backend, rules, state, batch, (Turn(True, last),) * len(rules), last)

    return backend.fold(micro, state, backend.with_last(window))
