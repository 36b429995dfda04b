"""One replica = N replicas: `reduce` is where they meet, and gradients, losses and weights all meet there."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functrain.kernel import Accumulator, Clip, LossScale, Rule, ScaleRule, epoch
from tests.oracle import AdamW, NumpyBackend, Part, bits, data, mlp
from tests.oracle.trees import assert_close

RULES = (Rule(Clip(norm=1.0), ScaleRule(init=2.0**6, interval=2)),)
ONE = NumpyBackend(Part(mlp(), AdamW(0.05)))


class Replicas(NumpyBackend):
    """N replicas in one process. Each adds up its own part of every micro-batch; the accumulator's fields have one
    entry a replica until they are reduced."""

    def __init__(self, n, *parts):
        super().__init__(*parts)
        self.n = n

    def init(self, params, rules, **fields):
        state = super().init(params, rules, **fields)
        return state._replace(players=tuple(p._replace(acc=self.empty(p.acc)) for p in state.players))

    def empty(self, acc):
        grads = tuple({name: np.zeros_like(g) for name, g in acc.grads.items()} for _ in range(self.n))
        return Accumulator(grads, (0.0,) * self.n, (0.0,) * self.n)

    def accumulate(self, state, batch, player, closes=False):
        me, parts = state.players[player], []
        for grads, loss, weight, own in zip(me.acc.grads, me.acc.loss, me.acc.weight, batch, strict=True):
            alone = state.with_player(player, me._replace(acc=Accumulator(grads, loss, weight, me.acc.count)))
            parts.append(super().accumulate(alone, own, player).players[player].acc)
        grads, loss, weight, _ = zip(*parts, strict=True)
        return state.with_player(player, me._replace(acc=Accumulator(grads, loss, weight, me.acc.count + 1)))

    def reduce(self, acc):
        grads = {name: sum(own[name] for own in acc.grads) for name in acc.grads[0]}
        return Accumulator(grads, sum(acc.loss), sum(acc.weight), acc.count)


class Travelling(Replicas):
    """Gradients travel while the micro-batch that closes a window runs backward; `reduce` completes the rest."""

    def __init__(self, n, *parts, listens=True):
        super().__init__(n, *parts)
        self.listens, self.travelled = listens, 0

    def accumulate(self, state, batch, player, closes=False):
        state = super().accumulate(state, batch, player, closes)
        if not (closes and self.listens):
            return state
        self.travelled += 1
        me = state.players[player]
        total = {name: sum(own[name] for own in me.acc.grads) for name in me.acc.grads[0]}
        nothing = {name: np.zeros_like(g) for name, g in total.items()}
        grads = (total, *(nothing for _ in range(self.n - 1)))
        return state.with_player(player, me._replace(acc=me.acc._replace(grads=grads)))


def parts_of(batch, n):
    """A micro-batch in n parts of unlike lengths; the first of many is empty."""
    edges = [round(len(batch.x) * (i / n) ** 3) for i in range(n + 1)]
    return [batch.part(a, b) for a, b in pairwise(edges)]


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 3))
def test_any_number_of_replicas_gives_the_run_of_one(seed, n, k):
    """A replica that gets no sample in some micro-batch is no exception: its weight is 0."""
    rng = np.random.default_rng(seed)
    params = data.mlp_params(rng)
    windows = [[data.classes(rng, 9)._replace(weight=data.weights(rng, 9)) for _ in range(k)] for _ in range(3)]
    split = [[parts_of(batch, n) for batch in window] for window in windows]
    several = Replicas(n, *ONE.parts)
    alone, want = epoch(ONE, RULES, ONE.init(params, RULES), windows)
    together, got = epoch(several, RULES, several.init(params, RULES), split)
    assert_close(together.params, alone.params, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose([r.loss for (r,) in got], [r.loss for (r,) in want], rtol=1e-12)
    np.testing.assert_allclose([r.norm for (r,) in got], [r.norm for (r,) in want], rtol=1e-9)


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_bad_gradient_on_one_replica_stops_all(bad):
    rng = np.random.default_rng(0)
    params, batch = data.mlp_params(rng), data.classes(rng, 9)
    batch = batch._replace(weight=np.ones(9))
    split = [batch.part(0, 2), batch.part(2, 5), batch.part(5, 9)]
    split[bad].x[0, 0] = np.inf
    several = Replicas(3, *ONE.parts)
    state, [(report,)] = epoch(several, RULES, several.init(params, RULES), [[split]])
    assert report.finite is False
    assert bits(state.params) == bits(params)
    assert state.players[0].scale == LossScale(2.0**5, 0)


@pytest.mark.parametrize("window", [1, 2, 3])
def test_a_window_that_closes_untold_is_reduced_all_the_same(window):
    rng = np.random.default_rng(0)
    params = data.mlp_params(rng)
    weighted = [data.classes(rng, 9)._replace(weight=data.weights(rng, 9)) for _ in range(4 * window)]
    split = [[parts_of(batch, 3) for batch in weighted[i::4]] for i in range(4)]
    listens, deaf = Travelling(3, *ONE.parts), Travelling(3, *ONE.parts, listens=False)
    told, _ = epoch(listens, RULES, listens.init(params, RULES), split)
    untold, _ = epoch(deaf, RULES, deaf.init(params, RULES), split)
    assert (listens.travelled, deaf.travelled) == (4, 0)
    assert bits(told.params) == bits(untold.params)
