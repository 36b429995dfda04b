"""Accumulated = the full batch: for any split, with weights, in a ragged last window, in flat memory."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functrain.kernel import Clip, Clock, Rule, ScaleRule, Schedule, accumulate, epoch, grouped, step, update
from tests.oracle import SGD, AdamW, NumpyBackend, Part, bits, data, linear, mlp
from tests.oracle.trees import assert_close

MODELS = {
    "linear": (linear, data.linear_params, data.regression),
    "mlp, tanh": (mlp("tanh"), data.mlp_params, data.classes),
    "mlp, relu": (mlp("relu"), data.mlp_params, data.classes),
}
RULES = (Rule(Clip(norm=1.0)),)
seeds = st.integers(0, 2**32 - 1)
cuts = st.lists(st.integers(1, 4), min_size=1, max_size=5)


def split(batch, sizes):
    edges = np.cumsum([0, *sizes])
    return [batch.part(a, b) for a, b in pairwise(edges)]


def make(model, seed, n):
    loss, params, batches = MODELS[model]
    rng = np.random.default_rng(seed)
    return NumpyBackend(Part(loss, AdamW(0.05))), params(rng), batches(rng, n), rng


@given(st.sampled_from(sorted(MODELS)), seeds, cuts, st.sampled_from(["samples", "tokens"]))
def test_any_split_into_weighted_micro_batches_is_the_full_batch(model, seed, sizes, kind):
    backend, params, batch, rng = make(model, seed, sum(sizes))
    weight = np.ones(sum(sizes)) if kind == "samples" else data.weights(rng, sum(sizes))
    batch = batch._replace(weight=weight)
    whole, (full,) = step(backend, RULES, backend.init(params, RULES), [batch])
    parts, (accumulated,) = step(backend, RULES, backend.init(params, RULES), split(batch, sizes))
    assert_close(parts.params, whole.params, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(accumulated.loss, full.loss, rtol=1e-12)
    np.testing.assert_allclose(accumulated.norm, full.norm, rtol=1e-9)


@given(st.sampled_from(sorted(MODELS)), seeds, st.integers(1, 5), st.integers(1, 4))
def test_micro_batches_of_one_size_need_no_weights(model, seed, k, size):
    backend, params, batch, _ = make(model, seed, k * size)
    whole, _ = step(backend, RULES, backend.init(params, RULES), [batch])
    parts, (report,) = step(backend, RULES, backend.init(params, RULES), split(batch, [size] * k))
    assert_close(parts.params, whole.params, rtol=1e-9, atol=1e-11)
    assert report.weight == k


@given(st.sampled_from(sorted(MODELS)), seeds, cuts)
def test_without_weights_every_micro_batch_counts_alike(model, seed, sizes):
    """The mean of the micro-batches' own gradients, each taken by itself."""
    backend, params, batch, _ = make(model, seed, sum(sizes))
    backend = NumpyBackend(Part(MODELS[model][0], SGD(1.0)))
    micros = split(batch, sizes)
    state = backend.init(params, (Rule(),))
    grads = [MODELS[model][0](state, micro).grads for micro in micros]
    want = {name: p - sum(g[name] for g in grads) / len(micros) for name, p in params.items()}
    state, _ = step(backend, (Rule(),), state, micros)
    assert_close(state.params, want)


def test_a_micro_batch_of_weight_zero_counts_for_nothing():
    backend, params, batch, _ = make("linear", 1, 6)
    batch = batch._replace(weight=np.array([1.0, 2.0, 3.0, 4.0, 0.0, 0.0]))
    want, _ = step(backend, RULES, backend.init(params, RULES), [batch.part(0, 4)])
    got, _ = step(backend, RULES, backend.init(params, RULES), split(batch, [4, 2]))
    assert_close(got.params, want.params)


@pytest.mark.parametrize("rule", [Rule(), Rule(Clip(norm=1.0)), Rule(scale=ScaleRule(init=4.0))])
def test_a_window_of_weight_zero_is_a_gradient_of_zero(rule):
    backend, params, batch, _ = make("linear", 1, 6)
    backend = NumpyBackend(Part(linear, SGD(0.1)))
    state, (report,) = step(backend, (rule,), backend.init(params, (rule,)), [batch._replace(weight=np.zeros(6))])
    assert bits(state.params) == bits(params)
    assert np.isnan(report.loss)
    assert state.clock == Clock(batch=1, update=1, skipped=1)


def odd_ones_only(state, batch):
    """A model that finds nothing to learn in every batch but some."""
    return linear(state, batch) if len(batch.x) % 2 else None


def test_a_skipped_micro_batch_is_as_if_it_were_not_there():
    _, params, batch, _ = make("linear", 2, 9)
    backend = NumpyBackend(Part(odd_ones_only, AdamW(0.1)))
    with_it, (report,) = step(backend, RULES, backend.init(params, RULES), split(batch, [3, 2, 1]))
    without, _ = step(backend, RULES, backend.init(params, RULES), [batch.part(0, 3), batch.part(5, 6)])
    assert bits(with_it.params) == bits(without.params)
    assert report.weight == 2


def test_a_window_of_which_everything_was_skipped_moves_nothing():
    """Not even by the gradients that the accumulator still holds from the window before."""
    _, params, batch, _ = make("linear", 3, 9)
    rules, backend = (Rule(scale=ScaleRule(init=4.0)),), NumpyBackend(Part(odd_ones_only, AdamW(0.1)))
    state, _ = step(backend, rules, backend.init(params, rules), [batch.part(0, 5)])
    before = bits((state.params, state.players[0].opt, state.players[0].scale))
    state, (report,) = step(backend, rules, state, split(batch, [2, 2]))
    assert bits((state.params, state.players[0].opt, state.players[0].scale)) == before
    assert (report.finite, report.weight, state.clock.update) == (False, 0, 2)


def test_the_last_shorter_window_divides_by_its_own_length():
    """Five micro-batches in windows of two: the third update is that of the fifth micro-batch alone."""
    backend, params, batch, _ = make("mlp, tanh", 2, 10)
    micros = split(batch, [2] * 5)
    got, reports = epoch(backend, RULES, backend.init(params, RULES), list(grouped(micros, 2)))
    want = backend.init(params, RULES)
    for window in (batch.part(0, 4), batch.part(4, 8), batch.part(8, 10)):
        want, _ = step(backend, RULES, want, [window])
    assert_close(got.params, want.params)
    assert [report.weight for (report,) in reports] == [2, 2, 1]
    assert got.clock.update == 3


def test_the_accumulator_holds_sums_and_is_empty_after_the_update():
    backend, params, batch, _ = make("linear", 3, 4)
    batch = batch._replace(weight=np.array([1.0, 2.0, 3.0, 4.0]))
    state = backend.init(params, RULES)
    losses = []
    for micro in split(batch, [1, 3]):
        losses.append(linear(state, micro).loss)
        state = accumulate(backend, state, micro)
    acc = state.players[0].acc
    assert (acc.weight, acc.count) == (10.0, 2)
    assert acc.loss == losses[0] * 1.0 + losses[1] * 9.0
    assert_close(state.params, params, rtol=0, atol=0)

    state, report = update(backend, RULES, state)
    assert (report.loss_sum, report.weight) == (acc.loss, 10.0)
    acc = state.players[0].acc
    assert (acc.loss, acc.weight, acc.count) == (0.0, 0.0, 0)


def test_a_window_starts_from_zero():
    _, params, batch, _ = make("mlp, tanh", 4, 4)
    first, second = split(batch, [2, 2])
    backend = NumpyBackend(Part(mlp(), SGD(0.1)))
    used, _ = step(backend, RULES, backend.init(params, RULES), [first])
    fresh = backend.init(used.params, RULES)
    used, _ = step(backend, RULES, used, [second])
    fresh, _ = step(backend, RULES, fresh, [second])
    assert bits(used.params) == bits(fresh.params)


def test_memory_does_not_grow_with_the_window():
    """The peak of a window of 64 micro-batches is that of 2, though one set of gradients takes 400 KB."""
    rng = np.random.default_rng(5)
    params = {"w": rng.normal(size=(500, 100)), "b": np.zeros(100)}
    micro = data.Batch(rng.normal(size=(2, 500)), rng.normal(size=(2, 100)))
    backend = NumpyBackend(Part(linear, SGD(0.1, momentum=0.9)))

    def peak(k):
        state = backend.init(params, RULES)
        window = [micro] * k
        tracemalloc.start()
        try:
            step(backend, RULES, state, window)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(2)
    few, many = peak(2), peak(64)
    assert few > params["w"].nbytes
    assert many < few + 20_000


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
