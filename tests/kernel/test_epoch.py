"""An epoch is the step repeated, an evaluation a fold, and the eager loop gives the bits of whole windows."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from functrain.kernel import (
    Clip,
    Plan,
    Rule,
    ScaleRule,
    Schedule,
    TrainState,
    epoch,
    evaluate,
    grouped,
    monoids,
    step,
)
from tests.oracle import AdamW, NumpyBackend, Part, bits, data, linear, mlp
from tests.oracle.loop import next_epoch, run
from tests.oracle.trees import assert_close

RULES = (Rule(Clip(norm=1.0), ScaleRule(init=2.0**8, interval=3)),)
BACKEND = NumpyBackend(Part(mlp(), AdamW(0.05)))

seeds = st.integers(0, 2**32 - 1)


def start(rng):
    return BACKEND.init(data.mlp_params(rng), RULES)


def test_an_epoch_is_the_step_repeated():
    rng = np.random.default_rng(0)
    state, batches = start(rng), [data.classes(rng, 3) for _ in range(7)]
    scanned, reports = epoch(BACKEND, RULES, BACKEND.copy(state), list(grouped(batches, 2)))
    by_hand = []
    for window in grouped(batches, 2):
        state, report = step(BACKEND, RULES, state, window)
        by_hand.append(report)
    assert bits((scanned, reports)) == bits((state, by_hand))
    assert (scanned.clock.batch, scanned.clock.update) == (7, 4)


def test_an_epoch_is_the_loop_that_one_would_write_by_hand():
    """Without the kernel: add up the gradients of a window, divide by its length, step."""
    rng = np.random.default_rng(1)
    params, batches = data.mlp_params(rng), [data.classes(rng, 3) for _ in range(8)]
    state, _ = epoch(BACKEND, (Rule(),), BACKEND.init(params, (Rule(),)), list(grouped(batches, 3)))
    optimizer = AdamW(0.05)
    opt = optimizer.init(params)
    for window in (batches[0:3], batches[3:6], batches[6:8]):
        each = [mlp()(TrainState(params, ()), batch).grads for batch in window]
        mean = {name: sum(grads[name] for grads in each) / len(window) for name in params}
        opt = optimizer.step(params, mean, opt)
    assert_close(state.params, params)
    assert_close(state.players[0].opt["v"], opt["v"])
    assert state.players[0].opt["count"] == 3


def test_an_epoch_of_nothing_moves_nothing():
    state = start(np.random.default_rng(0))
    before = bits(state)
    state, reports = epoch(BACKEND, RULES, state, [])
    assert bits(state) == before
    assert reports == []


@given(seeds, st.integers(1, 12), st.integers(1, 5), st.integers(1, 3), st.integers(0, 13))
def test_the_eager_loop_gives_the_bits_of_whole_windows(seed, length, k, epochs, bad):
    """Batch by batch with turns from the plan, or window by window, a batch that overflows among them."""
    rng = np.random.default_rng(seed)
    params, batches = data.mlp_params(rng), [data.classes(rng, 2) for _ in range(length)]
    if bad < length:
        batches[bad].x[0, 0] = np.nan
    schedule = Schedule({0: k, 1: 2})
    plan = Plan(length, schedule)
    eager, whole = BACKEND.init(params, RULES), BACKEND.init(params, RULES)
    for number in range(epochs):
        eager, micro = run(BACKEND, RULES, plan, eager, batches)
        whole, reports = epoch(BACKEND, RULES, whole, list(grouped(batches, schedule.at(number))))
        eager, whole = next_epoch(eager), next_epoch(whole)
        assert bits([r for r in micro if r != (None,)]) == bits(reports)
    assert bits(eager) == bits(whole)


@given(seeds, st.integers(2, 10), st.integers(1, 4), st.integers(0, 9))
def test_a_run_may_be_put_down_at_any_batch_and_taken_up_again(seed, length, k, stop):
    """Inside a window too: the open accumulator is part of the state."""
    rng = np.random.default_rng(seed)
    params, batches = data.mlp_params(rng), [data.classes(rng, 2) for _ in range(length)]
    plan = Plan(length, Schedule(k))
    through, _ = run(BACKEND, RULES, plan, BACKEND.init(params, RULES), batches)
    state, _ = run(BACKEND, RULES, plan, BACKEND.init(params, RULES), batches[:stop])
    resumed, _ = run(BACKEND, RULES, plan, BACKEND.copy(state), batches[stop:])
    assert bits(resumed) == bits(through)


@given(seeds, st.lists(st.integers(1, 5), max_size=6))
def test_evaluate_folds_metrics_and_moves_no_state(seed, sizes):
    rng = np.random.default_rng(seed)
    backend, mean = NumpyBackend(Part(linear, AdamW(0.1))), monoids(max)["mean"]
    state = backend.init(data.linear_params(rng), (Rule(),))
    batches = [data.regression(rng, n)._replace(weight=np.ones(n)) for n in sizes]

    def eval_step(state, metrics, batch):
        seen = linear(state, batch)
        return mean.merge(metrics, mean.lift(seen.loss, seen.weight))

    before = bits(state)
    metrics = evaluate(backend, eval_step, state, mean.empty, batches)
    assert bits(state) == before
    by_hand = mean.empty
    for batch in batches:
        by_hand = eval_step(state, by_hand, batch)
    assert metrics == by_hand
    assert metrics.weight == sum(sizes)
