"""On every backend an epoch is the step repeated, an evaluation a fold, the eager loop the bits of whole windows."""

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
from tests.kernel.backends import array, bits_of, law, on_every_backend, params
from tests.oracle import AdamW, NumpyBackend, Part, bits, data, linear, mlp
from tests.oracle.loop import next_epoch, run
from tests.oracle.trees import assert_close

RULES = (Rule(Clip(norm=1.0), ScaleRule(init=2.0**8, interval=3)),)
PART = Part(mlp(), AdamW(0.05))

seeds = st.integers(0, 2**32 - 1)


def begun(kind, start, rules=RULES):
    backend = kind.backend(PART)
    return backend, kind.init(backend, start, rules)


def numbers(reports):
    return bits([[array(field) for field in report] for report in reports])


@on_every_backend
def test_an_epoch_is_the_step_repeated(kind):
    rng = np.random.default_rng(0)
    (backend, state), batches = begun(kind, data.mlp_params(rng)), [data.classes(rng, 3) for _ in range(7)]
    scanned, reports = epoch(backend, RULES, backend.copy(state), list(grouped(batches, 2)))
    by_hand = []
    for window in grouped(batches, 2):
        state, report = step(backend, RULES, state, window)
        by_hand.append(report)
    assert bits_of(kind, scanned) == bits_of(kind, state)
    assert numbers(r for (r,) in reports) == numbers(r for (r,) in by_hand)
    assert (scanned.clock.batch, scanned.clock.update) == (7, 4)


@on_every_backend
def test_an_epoch_is_the_loop_that_one_would_write_by_hand(kind):
    """Without the kernel: add up the gradients of a window, divide by its length, step."""
    rng = np.random.default_rng(1)
    values, batches = data.mlp_params(rng), [data.classes(rng, 3) for _ in range(8)]
    backend, state = begun(kind, values, (Rule(),))
    state, _ = epoch(backend, (Rule(),), state, list(grouped(batches, 3)))
    optimizer = AdamW(0.05)
    opt = optimizer.init(values)
    for window in (batches[0:3], batches[3:6], batches[6:8]):
        each = [mlp()(TrainState(values, ()), batch).grads for batch in window]
        mean = {name: sum(grads[name] for grads in each) / len(window) for name in values}
        opt = optimizer.step(values, mean, opt)
    assert_close(params(state), values, rtol=1e-10)
    assert state.players[0].updates == opt["count"] == 3


@on_every_backend
def test_an_epoch_of_nothing_moves_nothing(kind):
    backend, state = begun(kind, data.mlp_params(np.random.default_rng(0)))
    before = bits_of(kind, state)
    state, reports = epoch(backend, RULES, state, [])
    assert bits_of(kind, state) == before
    assert reports == []


@law(seeds, st.integers(1, 12), st.integers(1, 5), st.integers(1, 3), st.integers(0, 13))
def test_the_eager_loop_gives_the_bits_of_whole_windows(kind, seed, length, k, epochs, bad):
    """Batch by batch with turns from the plan, or window by window, a batch that overflows among them."""
    rng = np.random.default_rng(seed)
    start, batches = data.mlp_params(rng), [data.classes(rng, 2) for _ in range(length)]
    if bad < length:
        batches[bad].x[0, 0] = np.nan
    schedule = Schedule({0: k, 1: 2})
    plan = Plan(length, schedule)
    (one, eager), (other, whole) = begun(kind, start), begun(kind, start)
    for number in range(epochs):
        eager, micro = run(one, RULES, plan, eager, batches)
        whole, reports = epoch(other, RULES, whole, list(grouped(batches, schedule.at(number))))
        eager, whole = next_epoch(eager), next_epoch(whole)
        assert numbers(r for (r,) in micro if r is not None) == numbers(r for (r,) in reports)
    assert bits_of(kind, eager) == bits_of(kind, whole)


@law(seeds, st.integers(2, 10), st.integers(1, 4), st.integers(0, 9))
def test_a_run_may_be_put_down_at_any_batch_and_taken_up_again(kind, seed, length, k, stop):
    """Inside a window too: the open accumulator is part of the state."""
    rng = np.random.default_rng(seed)
    start, batches = data.mlp_params(rng), [data.classes(rng, 2) for _ in range(length)]
    plan = Plan(length, Schedule(k))
    backend, through = begun(kind, start)
    through, _ = run(backend, RULES, plan, through, batches)
    backend, state = begun(kind, start)
    state, _ = run(backend, RULES, plan, state, batches[:stop])
    resumed, _ = run(backend, RULES, plan, backend.copy(state), batches[stop:])
    assert bits_of(kind, resumed) == bits_of(kind, through)


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
