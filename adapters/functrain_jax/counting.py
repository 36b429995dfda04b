"""Loops that carry no counters: what counts rounds is made of the loop's index. Every scalar that a loop carries costs
copies and kernels of its own, which small steps feel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jax import lax

from functrain.kernel import TrainState
from functrain_jax.backend import JaxBackend

Body = Callable[[Any, TrainState], TrainState]


def updates(first: Any, end: Any, body: Body, state: TrainState, backend: JaxBackend) -> TrainState:
    """Rounds of one batch, each of which is a window and an update of every player."""

    def bare(state: TrainState) -> TrainState:
        players = tuple(player._replace(acc=None, updates=None) for player in state.players)
        return state._replace(players=players, clock=state.clock._replace(batch=None, update=None))

    def whole(i: Any, bare: TrainState) -> TrainState:
        n, clock = i - first, state.clock
        players = tuple(
            player._replace(acc=backend.empty(before.acc), updates=before.updates + n)
            for player, before in zip(bare.players, state.players, strict=True)
        )
        clock = bare.clock._replace(batch=clock.batch + n, update=clock.update + n)
        return bare._replace(players=players, clock=clock)

    return _loop(first, end, body, state, bare, whole)


def micro_batches(first: Any, end: Any, body: Body, state: TrainState, sums_loss: bool) -> TrainState:
    """Rounds of one micro-batch of the only player's open window, each of which adds to it; the loss where it is asked
    for."""

    def bare(state: TrainState) -> TrainState:
        (me,) = state.players
        acc = me.acc._replace(count=None, loss=me.acc.loss if sums_loss else None)
        return state.with_player(0, me._replace(acc=acc))._replace(clock=state.clock._replace(batch=None))

    def whole(i: Any, bare: TrainState) -> TrainState:
        n, (me,), before = i - first, bare.players, state.players[0].acc
        acc = me.acc._replace(count=before.count + n, loss=me.acc.loss if sums_loss else before.loss)
        clock = bare.clock._replace(batch=state.clock.batch + n)
        return bare.with_player(0, me._replace(acc=acc))._replace(clock=clock)

    return _loop(first, end, body, state, bare, whole)


def _loop(
    first: Any,
    end: Any,
    body: Body,
    state: TrainState,
    bare: Callable[[TrainState], TrainState],
    whole: Body,
) -> TrainState:
    return whole(end, lax.fori_loop(first, end, lambda i, s: bare(body(i, whole(i, s))), bare(state)))
