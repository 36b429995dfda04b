"""The step is a function: a copied state stays as it was, calls repeat to the bit, nothing global moves."""

import random

import numpy as np
import pytest

from functrain.kernel import Clip, Rule, ScaleRule, TrainState, accumulate, epoch, step, tbptt, update
from tests.oracle import SGD, AdamW, NumpyBackend, Part, bits, data, recurrent, restless

RULES = (Rule(Clip(norm=1.0, value=0.5), ScaleRule(init=2.0**4, interval=2)),)
BACKEND = NumpyBackend(Part(restless, AdamW(0.05)))
RECURRENT = NumpyBackend(Part(recurrent.elman, SGD(0.05, momentum=0.9)))


def windows(n=3, k=2):
    rng = np.random.default_rng(11)
    return [[data.regression(rng, 4) for _ in range(k)] for _ in range(n)]


def start() -> TrainState:
    """A state with all there is: an open window, optimizer state, a moved scale, running means, a seed."""
    params = data.linear_params(np.random.default_rng(12))
    state = BACKEND.init(params, RULES, rng=5, vars={"mean": np.zeros(data.D_IN)})
    state, _ = epoch(BACKEND, RULES, state, windows())
    return accumulate(BACKEND, state, windows()[0][0])


def sequence():
    return [data.sequences(np.random.default_rng(13), 2, time) for time in (3, 3, 1)]


def cell() -> TrainState:
    return RECURRENT.init(recurrent.params(np.random.default_rng(14)), RULES)


CALLS = {
    "accumulate": (BACKEND, start, lambda s: accumulate(BACKEND, s, windows()[0][1])),
    "update": (BACKEND, start, lambda s: update(BACKEND, RULES, s)),
    "step": (BACKEND, start, lambda s: step(BACKEND, RULES, s, windows()[0])),
    "epoch": (BACKEND, start, lambda s: epoch(BACKEND, RULES, s, windows())),
    "tbptt": (RECURRENT, cell, lambda s: tbptt(RECURRENT, RULES, s, sequence(), window=2)),
}
calls = pytest.mark.parametrize(("backend", "state", "call"), CALLS.values(), ids=CALLS.keys())


@calls
def test_a_state_that_was_copied_first_is_untouched(backend, state, call):
    old = state()
    before = bits(old)
    call(backend.copy(old))
    assert bits(old) == before


@calls
def test_the_same_call_twice_gives_the_same_bits(backend, state, call):
    old = state()
    assert bits(call(backend.copy(old))) == bits(call(backend.copy(old)))


@calls
def test_global_generators_are_not_moved(backend, state, call):
    old = state()
    before = random.getstate(), bits(np.random.get_state())
    call(old)
    assert (random.getstate(), bits(np.random.get_state())) == before


@pytest.mark.parametrize(("backend", "state", "batches"), [(BACKEND, start, windows), (RECURRENT, cell, sequence)])
def test_batches_are_not_written_to(backend, state, batches):
    given = batches()
    step(backend, RULES, state(), given[0] if backend is BACKEND else given)
    assert bits(given) == bits(batches())


def leaves(tree):
    if isinstance(tree, np.ndarray):
        return [tree]
    members = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, tuple) else ()
    return [leaf for member in members for leaf in leaves(member)]


@calls
def test_no_two_leaves_share_memory(backend, state, call):
    """Neither within a state nor between it and its copy: what is moved in one would show in the other."""
    one = state()
    arrays = [*leaves(one), *leaves(backend.copy(one))]
    shared = [(i, j) for i, a in enumerate(arrays) for j, b in enumerate(arrays[:i]) if np.shares_memory(a, b)]
    assert shared == []


def test_the_state_carries_the_noise():
    """Another seed gives other numbers, the same seed the same: randomness is an argument like any other."""

    def run(rng):
        return step(BACKEND, RULES, start()._replace(rng=rng), windows()[0])[0]

    assert bits(run(1).params) == bits(run(1).params)
    assert bits(run(1).params) != bits(run(2).params)
    assert run(1).rng == 3
