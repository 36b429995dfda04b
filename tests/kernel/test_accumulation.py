"""Accumulated = the full batch, on every backend: any split, with weights, a ragged last window, in flat memory."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functrain.kernel import Clip, Clock, Rule, ScaleRule, Schedule, TrainState, accumulate, grouped, step, update
from tests.kernel.backends import KINDS, law, on_every_backend, params
from tests.oracle import SGD, AdamW, NumpyBackend, Part, bits, data, linear, mlp
from tests.oracle.trees import assert_close

MODELS = {
    "linear": (linear, data.linear_params, data.regression),
    "mlp, tanh": (mlp("tanh"), data.mlp_params, data.classes),
    "mlp, relu": (mlp("relu"), data.mlp_params, data.classes),
}
NUMPY = KINDS[0]
RULES = (Rule(Clip(norm=1.0)),)
seeds = st.integers(0, 2**32 - 1)
cuts = st.lists(st.integers(1, 4), min_size=1, max_size=5)


def split(batch, sizes):
    edges = np.cumsum([0, *sizes])
    return [batch.part(a, b) for a, b in pairwise(edges)]


ADAMW = AdamW(0.05)


class Begun:
    """A model on a backend of this kind: its parameters, a batch, states that start from them."""

    def __init__(self, kind, model, seed, n, optimizer=ADAMW):
        loss, start, batches = MODELS[model]
        self.kind, self.rng = kind, np.random.default_rng(seed)
        self.backend = kind.backend(Part(loss, optimizer))
        self.start, self.batch = start(self.rng), batches(self.rng, n)

    def init(self, rules=RULES, start=None):
        return self.kind.init(self.backend, self.start if start is None else start, rules)

    def step(self, window, state=None, rules=RULES):
        return step(self.backend, rules, self.init(rules) if state is None else state, window)


@law(st.sampled_from(sorted(MODELS)), seeds, cuts, st.sampled_from(["samples", "tokens"]))
def test_any_split_into_weighted_micro_batches_is_the_full_batch(kind, model, seed, sizes, weighs):
    begun = Begun(kind, model, seed, sum(sizes))
    weight = np.ones(sum(sizes)) if weighs == "samples" else data.weights(begun.rng, sum(sizes))
    batch = begun.batch._replace(weight=weight)
    whole, (full,) = begun.step([batch])
    whole = params(whole)
    parts, (accumulated,) = begun.step(split(batch, sizes))
    assert_close(params(parts), whole, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(float(accumulated.loss), float(full.loss), rtol=1e-12)
    np.testing.assert_allclose(float(accumulated.norm), float(full.norm), rtol=1e-9)


@law(st.sampled_from(sorted(MODELS)), seeds, st.integers(1, 5), st.integers(1, 4))
def test_micro_batches_of_one_size_need_no_weights(kind, model, seed, k, size):
    begun = Begun(kind, model, seed, k * size)
    whole, _ = begun.step([begun.batch])
    parts, (report,) = begun.step(split(begun.batch, [size] * k))
    assert_close(params(parts), params(whole), rtol=1e-9, atol=1e-11)
    assert report.weight == k


@law(st.sampled_from(sorted(MODELS)), seeds, cuts)
def test_without_weights_every_micro_batch_counts_alike(kind, model, seed, sizes):
    """The mean of the micro-batches' own gradients, each taken by itself."""
    begun, oracle = Begun(kind, model, seed, sum(sizes), SGD(1.0)), MODELS[model][0]
    micros, alone = split(begun.batch, sizes), TrainState(begun.start, ())
    grads = [oracle(alone, micro).grads for micro in micros]
    want = {name: p - sum(g[name] for g in grads) / len(micros) for name, p in begun.start.items()}
    state, _ = begun.step(micros, rules=(Rule(),), state=begun.init((Rule(),)))
    assert_close(params(state), want)


@on_every_backend
def test_a_micro_batch_of_weight_zero_counts_for_nothing(kind):
    begun = Begun(kind, "linear", 1, 6)
    batch = begun.batch._replace(weight=np.array([1.0, 2.0, 3.0, 4.0, 0.0, 0.0]))
    want, _ = begun.step([batch.part(0, 4)])
    got, _ = begun.step(split(batch, [4, 2]))
    assert_close(params(got), params(want))


@on_every_backend
@pytest.mark.parametrize("rule", [Rule(), Rule(Clip(norm=1.0)), Rule(scale=ScaleRule(init=4.0))])
def test_a_window_of_weight_zero_is_a_gradient_of_zero(kind, rule):
    begun = Begun(kind, "linear", 1, 6, SGD(0.1))
    state, (report,) = begun.step([begun.batch._replace(weight=np.zeros(6))], rules=(rule,))
    assert bits(params(state)) == bits(begun.start)
    assert np.isnan(float(report.loss))
    assert [int(n) for n in state.clock] == list(Clock(batch=1, update=1, skipped=1))


def odd_ones_only(state, batch):
    """A model that finds nothing to learn in every batch but some."""
    return linear(state, batch) if len(batch.x) % 2 else None


def test_a_skipped_micro_batch_is_as_if_it_were_not_there():
    begun, backend = Begun(NUMPY, "linear", 2, 9), NumpyBackend(Part(odd_ones_only, AdamW(0.1)))
    start, batch = begun.start, begun.batch
    with_it, (report,) = step(backend, RULES, backend.init(start, RULES), split(batch, [3, 2, 1]))
    without, _ = step(backend, RULES, backend.init(start, RULES), [batch.part(0, 3), batch.part(5, 6)])
    assert bits(with_it.params) == bits(without.params)
    assert report.weight == 2


def test_a_window_of_which_everything_was_skipped_moves_nothing():
    """Not even by the gradients that the accumulator still holds from the window before."""
    begun = Begun(NUMPY, "linear", 3, 9)
    start, batch = begun.start, begun.batch
    rules, backend = (Rule(scale=ScaleRule(init=4.0)),), NumpyBackend(Part(odd_ones_only, AdamW(0.1)))
    state, _ = step(backend, rules, backend.init(start, rules), [batch.part(0, 5)])
    before = bits((state.params, state.players[0].opt, state.players[0].scale))
    state, (report,) = step(backend, rules, state, split(batch, [2, 2]))
    assert bits((state.params, state.players[0].opt, state.players[0].scale)) == before
    assert (report.finite, report.weight, state.clock.update) == (False, 0, 2)


@on_every_backend
def test_the_last_shorter_window_divides_by_its_own_length(kind):
    """Five micro-batches in windows of two: the third update is that of the fifth micro-batch alone."""
    begun = Begun(kind, "mlp, tanh", 2, 10)
    batch = begun.batch
    micros, weights, got = split(batch, [2] * 5), [], begun.init()
    for window in grouped(micros, 2):
        got, (report,) = begun.step(window, got)
        weights.append(float(report.weight))
    other = Begun(kind, "mlp, tanh", 2, 10)
    want = other.init()
    for whole in (batch.part(0, 4), batch.part(4, 8), batch.part(8, 10)):
        want, _ = other.step([whole], want)
    assert_close(params(got), params(want))
    assert weights == [2, 2, 1]
    assert got.clock.update == 3


@on_every_backend
def test_the_accumulator_holds_sums_and_is_empty_after_the_update(kind):
    begun = Begun(kind, "linear", 3, 4)
    batch = begun.batch._replace(weight=np.array([1.0, 2.0, 3.0, 4.0]))
    state, losses = begun.init(), []
    for micro in split(batch, [1, 3]):
        losses.append(linear(TrainState(begun.start, ()), micro).loss)
        state = accumulate(begun.backend, state, micro)
    acc = state.players[0].acc
    loss = float(acc.loss)
    assert (acc.weight, acc.count) == (10.0, 2)
    np.testing.assert_allclose(loss, losses[0] * 1.0 + losses[1] * 9.0, rtol=1e-14)
    assert bits(params(state)) == bits(begun.start)

    state, report = update(begun.backend, RULES, state)
    assert (float(report.loss_sum), report.weight) == (loss, 10.0)
    acc = state.players[0].acc
    assert (acc.loss, acc.weight, acc.count) == (0.0, 0.0, 0)


@on_every_backend
def test_a_window_starts_from_zero(kind):
    begun = Begun(kind, "mlp, tanh", 4, 4, SGD(0.1))
    first, second = split(begun.batch, [2, 2])
    used, _ = begun.step([first])
    fresh = begun.init(start=params(used))
    used, _ = begun.step([second], used)
    fresh, _ = begun.step([second], fresh)
    assert bits(params(used)) == bits(params(fresh))


def test_memory_does_not_grow_with_the_window():
    """The peak of a window of 64 micro-batches is that of 2, though one set of gradients takes 400 KB."""
    rng = np.random.default_rng(5)
    start = {"w": rng.normal(size=(500, 100)), "b": np.zeros(100)}
    micro = data.Batch(rng.normal(size=(2, 500)), rng.normal(size=(2, 100)))
    backend = NumpyBackend(Part(linear, SGD(0.1, momentum=0.9)))

    def peak(k):
        state = backend.init(start, RULES)
        window = [micro] * k
        tracemalloc.start()
        try:
            step(backend, RULES, state, window)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(2)
    few, many = peak(2), peak(64)
    assert few > start["w"].nbytes
    # A pair for each micro-batch of the window is some hundred bytes, which free lists may hide or not.
    assert many < few + start["w"].nbytes / 8


def test_schedule_by_epoch():
    schedule = Schedule({5: 3, 10: 20})
    assert [schedule.at(e) for e in (0, 4, 5, 9, 10, 11, 1000)] == [1, 1, 3, 3, 20, 20, 20]
    assert [Schedule(4).at(e) for e in (0, 7)] == [4, 4]
    assert [Schedule({0: 2, 3: 1}).at(e) for e in (0, 2, 3)] == [2, 2, 1]
    assert Schedule({10: 20, 5: 3}) == schedule
    assert hash(Schedule({10: 20, 5: 3})) == hash(schedule)
    assert repr(schedule) == "Schedule({0: 1, 5: 3, 10: 20})"


@pytest.mark.parametrize("spec", [0, -1, True, {0: 0}, {-1: 2}, {2: True}, {True: 2}, {0.5: 2}, {1: 2.0}])
def test_a_schedule_that_makes_no_sense_is_an_error_that_shows_it(spec):
    with pytest.raises(ValueError, match=r"must be an int >= [01]"):
        Schedule(spec)


@given(st.lists(st.integers(), max_size=30), st.integers(1, 8))
def test_grouped_keeps_every_item_in_order(items, size):
    windows = list(grouped(iter(items), size))
    assert [x for window in windows for x in window] == items
    assert all(len(window) == size for window in windows[:-1])
    assert all(1 <= len(window) <= size for window in windows)


def test_grouped_reads_no_further_than_the_window_that_is_asked_for():
    items = iter(range(10))
    next(grouped(items, 3))
    assert next(items) == 3


def test_grouped_refuses_a_window_of_nothing():
    with pytest.raises(ValueError, match="window size 0"):
        list(grouped([1], 0))
