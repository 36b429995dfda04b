"""The law of every verb of a backend, on every backend: what the kernel relies on, and nothing more."""

import math

import numpy as np
import pytest
from hypothesis import strategies as st

from functrain.kernel import Accumulator, Clip, Rule, accumulate, epoch, step, update
from functrain.kernel.step import Action, micro_step
from tests.kernel.backends import KINDS, array, bits_of, law, on_every_backend, params
from tests.oracle import SGD, AdamW, Part, bits, data, game, inner, linear
from tests.oracle.trees import assert_close

ZERO = {"a": np.zeros((3, 2)), "b": np.zeros(4)}
PLAIN = (Rule(),)
seeds = st.integers(0, 2**32 - 1)
orders = st.sampled_from([1.0, 2.0, 3.0, math.inf])
special = st.sampled_from([0.0, -1.5, 2.0, math.inf, -math.inf, math.nan])


def given_gradients(kind, grads, optimizer=None):
    """A backend, and a state whose open window holds these gradients: `inner` has them as it is told."""
    backend = kind.backend(Part(inner, optimizer or SGD(1.0)))
    state = kind.init(backend, ZERO, PLAIN)
    return backend, accumulate(backend, state, grads)


def gradients(seed, size=1.0):
    rng = np.random.default_rng(seed)
    return {name: size * rng.normal(size=p.shape) for name, p in ZERO.items()}


@law(seeds, st.lists(st.floats(0.1, 9.0), min_size=1, max_size=4))
def test_accumulate_adds_weighted_sums_and_moves_nothing(kind, seed, weights):
    micros = [{**gradients(seed + i), "weight": w} for i, w in enumerate(weights)]
    backend = kind.backend(Part(inner, SGD(1.0)))
    state = kind.init(backend, {name: p + 1.0 for name, p in ZERO.items()}, PLAIN)
    before = bits(params(state))
    for micro in micros:
        state = accumulate(backend, state, micro)
    acc = state.players[0].acc
    losses = [sum(m[name].sum() for name in ZERO) for m in micros]
    np.testing.assert_allclose(float(acc.loss), sum(w * x for w, x in zip(weights, losses, strict=True)), 1e-12, 1e-12)
    np.testing.assert_allclose(float(acc.weight), sum(weights), rtol=1e-14)
    assert acc.count == len(weights)
    assert bits(params(state)) == before
    want = np.concatenate([sum(m["weight"] * m[name] for m in micros).ravel() for name in ZERO])
    np.testing.assert_allclose(float(backend.norm(acc.grads, 2.0)), np.linalg.norm(want), rtol=1e-12)


@law(seeds, orders, st.sampled_from([1e-6, 1.0, 1e6]))
def test_norm_is_that_of_one_vector(kind, seed, p, size):
    grads = gradients(seed, size)
    backend, state = given_gradients(kind, grads)
    want = np.linalg.norm(np.concatenate([g.ravel() for g in grads.values()]), p)
    np.testing.assert_allclose(float(backend.norm(state.players[0].acc.grads, p)), want, rtol=1e-12)


@law(orders, st.sampled_from([math.nan, math.inf, -math.inf]), st.sampled_from(sorted(ZERO)))
def test_norm_hides_nothing_that_is_not_finite(kind, p, bad, where):
    grads = gradients(0)
    grads[where].flat[-1] = bad
    backend, state = given_gradients(kind, grads)
    assert not math.isfinite(float(backend.norm(state.players[0].acc.grads, p)))


@law(seeds, st.floats(0.01, 3.0), st.none() | st.floats(0.01, 2.0))
def test_apply_steps_by_the_bounded_product(kind, seed, factor, limit):
    grads = gradients(seed)
    backend, state = given_gradients(kind, grads)
    state = backend.apply(state, 0, state.players[0].acc.grads, factor, limit, True)
    bound = math.inf if limit is None else limit
    assert_close(params(state), {name: -np.clip(g * factor, -bound, bound) for name, g in grads.items()})


@on_every_backend
@pytest.mark.parametrize("optimizer", [SGD(0.1, momentum=0.9), AdamW(0.1)])
def test_apply_of_what_is_not_finite_changes_nothing(kind, optimizer):
    backend, state = given_gradients(kind, gradients(0), optimizer)
    state, _ = update(backend, PLAIN, state)
    state = accumulate(backend, state, {**gradients(1), "a": np.full((3, 2), np.nan)})
    finite = backend.isfinite(backend.norm(state.players[0].acc.grads, math.inf))
    without = [player._replace(acc=Accumulator({})) for player in state.players]
    before = bits([array(leaf) for leaf in kind.leaves(state._replace(players=without))])
    state = backend.apply(state, 0, state.players[0].acc.grads, 1.0, None, finite)
    without = [player._replace(acc=Accumulator({})) for player in state.players]
    assert bits([array(leaf) for leaf in kind.leaves(state._replace(players=without))]) == before


@on_every_backend
def test_an_emptied_accumulator_starts_from_zero(kind):
    backend, state = given_gradients(kind, gradients(0))
    emptied = backend.empty(state.players[0].acc)
    assert (emptied.loss, emptied.weight, emptied.count) == (0.0, 0.0, 0)
    state = state.with_player(0, state.players[0]._replace(acc=emptied))
    again, fresh = accumulate(backend, state, gradients(1)), given_gradients(kind, gradients(1))[1]
    for p in (1.0, 2.0):
        ours = backend.norm(again.players[0].acc.grads, p)
        assert float(ours) == float(backend.norm(fresh.players[0].acc.grads, p))


@on_every_backend
def test_reduce_of_one_replica_is_what_it_was(kind):
    backend, state = given_gradients(kind, gradients(0))
    acc = state.players[0].acc
    before = float(backend.norm(acc.grads, 2.0)), float(acc.loss), float(acc.weight), int(acc.count)
    acc = backend.reduce(acc)
    assert (float(backend.norm(acc.grads, 2.0)), float(acc.loss), float(acc.weight), int(acc.count)) == before


@law(special, special)
def test_scalars(kind, a, b):
    """`isfinite`, `select`, `maximum`: of Python's numbers, as they are on the host, and of a backend's own."""
    backend, state = given_gradients(kind, ZERO)
    one = state.players[0].acc.weight  # a number 1 as the backend has it
    for x, y in [(a, b), (a * one, b), (a, b * one), (a * one, b * one)]:
        assert bool(backend.isfinite(x)) == math.isfinite(a)
        larger = float(backend.maximum(x, y))
        assert math.isnan(larger) if math.isnan(a) or math.isnan(b) else larger == max(a, b)
        for condition in (True, False, backend.isfinite(x)):
            np.testing.assert_equal(float(backend.select(condition, x, y)), a if condition else b)


@law(st.integers(1, 6))
def test_with_last_tells_the_last_and_fold_and_scan_go_in_order(kind, n):
    backend = kind.backend(Part(inner, SGD(1.0)))
    items = backend.with_last([np.full(2, float(i)) for i in range(n)])
    assert [bool(last) for _, last in items] == [i == n - 1 for i in range(n)]

    def f(carry, item):
        batch, _ = item
        return 2.0 * carry + batch[0], carry + batch[1]

    total, asides = 1.0, []
    for i in range(n):
        asides.append(total + i)
        total = 2.0 * total + i
    carry, aside = backend.fold(f, 1.0, items)
    assert (float(carry), float(aside)) == (total, asides[-1])
    carry, collected = backend.scan(f, 1.0, items)
    assert (float(carry), [float(x) for x in collected]) == (total, asides)


@on_every_backend
@pytest.mark.parametrize("flag", [True, False, "own"])
def test_when_does_it_or_does_not(kind, flag):
    backend, state = given_gradients(kind, gradients(0))
    flag = backend.isfinite(state.players[0].acc.weight) if flag == "own" else flag
    before = bits(params(state))
    state, report = backend.when(flag, lambda s: update(backend, PLAIN, s), state)
    assert (bits(params(state)) != before) == bool(flag)
    assert int(state.players[0].updates) == bool(flag)
    if flag:
        assert report is not None


@on_every_backend
def test_a_copy_goes_its_own_way(kind):
    backend, state = given_gradients(kind, gradients(0), AdamW(0.1))
    state, _ = update(backend, PLAIN, state)
    state = accumulate(backend, state, gradients(1))
    twin, before = backend.copy(state), bits_of(kind, state)
    moved, _ = update(backend, PLAIN, accumulate(backend, twin, gradients(2)))
    assert bits_of(kind, state) == before
    again, _ = update(backend, PLAIN, accumulate(backend, state, gradients(2)))
    assert bits_of(kind, again) == bits_of(kind, moved)


@law(seeds, st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=6))
def test_any_turns_of_two_players_leave_the_other_as_it_was(kind, seed, turns):
    """What one does, the other's parameters, window and count do not feel; what nobody plays changes nothing."""
    parts = Part(game.first, SGD(0.1), ("x",)), Part(game.second, AdamW(0.1), ("y",))
    rules, rng = (Rule(Clip(norm=1.0)), Rule()), np.random.default_rng(seed)
    backend = kind.backend(*parts)
    state = kind.init(backend, {"x": rng.normal(size=3), "y": rng.normal(size=2)}, rules)
    for number, (first, second) in enumerate(turns):
        before, counts = params(state), [int(p.updates) for p in state.players]
        whose = (Action(first, first), Action(second, second))
        state, reports = micro_step(backend, rules, state, rng.normal(size=(3, 2)), whose, first or second)
        now = params(state)
        assert [bits(now[n]) != bits(before[n]) for n in ("x", "y")] == [first, second]
        assert [report is not None for report in reports] == [first, second]
        moved = zip(counts, (first, second), strict=True)
        assert [int(p.updates) for p in state.players] == [count + plays for count, plays in moved]
        assert int(state.clock.batch) == number + 1
    assert int(state.clock.update) == sum(a or b for a, b in turns)


@pytest.mark.parametrize("sizes", [[2, 2, 2], [2, 1], [3]])
def test_loops_that_jax_compiles_are_python_s(sizes):
    """The kinds above run JAX's verbs in Python's loops; its own fold and scan give the same numbers."""
    import jax

    from functrain_jax.backend import JaxBackend

    kind, rules = KINDS[2], (Rule(Clip(norm=1.0)),)
    rng = np.random.default_rng(0)
    start, windows = data.linear_params(rng), [[data.regression(rng, n) for n in sizes] for _ in range(3)]
    with jax.enable_x64(True):
        backend = kind.backend(Part(linear, AdamW(0.05)))
        own = JaxBackend(backend.loss, backend.optimizers, backend.owned, backend.policy)
        ours, [*reports] = epoch(backend, rules, kind.init(backend, start, rules), windows)
        theirs = kind.init(own, start, rules)
        for window, (report,) in zip(windows, reports, strict=True):
            theirs, (compiled,) = step(own, rules, theirs, window)
            np.testing.assert_allclose(float(compiled.loss), float(report.loss), rtol=1e-12)
        assert_close(params(theirs), params(ours))
