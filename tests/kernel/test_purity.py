"""The step is a function, on every backend: a copied state stays as it was, calls repeat to the bit, nothing global
moves."""

import random

import numpy as np
import pytest

from functrain.kernel import Clip, Rule, ScaleRule, TrainState, accumulate, epoch, step, tbptt, update
from tests.kernel.backends import bits_of, on_every_backend
from tests.oracle import SGD, AdamW, NumpyBackend, Part, averaging, bits, data, game, recurrent, restless

MEANS = {"mean": np.zeros(data.D_IN)}
RULE = Rule(Clip(norm=1.0, value=0.5), ScaleRule(init=2.0**4, interval=2))


class Averaging:
    """A state with all there is: an open window, optimizer state, a moved scale, running means."""

    rules = (RULE,)
    parts = (Part(averaging, AdamW(0.05)),)
    vars = MEANS

    @staticmethod
    def params():
        return data.linear_params(np.random.default_rng(12))

    @staticmethod
    def windows():
        rng = np.random.default_rng(11)
        return [[data.regression(rng, 4) for _ in range(2)] for _ in range(3)]


class Game:
    """Two players, each with a window that is open."""

    rules = (RULE, Rule(Clip(value=0.3)))
    parts = (Part(game.first, SGD(0.1, momentum=0.9), ("x",)), Part(game.second, AdamW(0.05), ("y",)))
    vars = None

    @staticmethod
    def params():
        return {"x": np.array([1.0, -2.0, 0.5]), "y": np.array([0.3, 0.7])}

    @staticmethod
    def windows():
        rng = np.random.default_rng(11)
        return [[rng.normal(size=(3, 2)) for _ in range(2)] for _ in range(3)]


class Recurrent:
    """A hidden state that goes from piece to piece."""

    rules = (RULE,)
    parts = (Part(recurrent.elman, SGD(0.05, momentum=0.9)),)
    vars = None

    @staticmethod
    def params():
        return recurrent.params(np.random.default_rng(14))

    @staticmethod
    def windows():
        return [[data.sequences(np.random.default_rng(13), 2, time) for time in (3, 3, 1)]]


def begun(kind, case):
    """The case's backend and its state in the middle of a window."""
    backend = kind.backend(*case.parts)
    state = kind.init(backend, case.params(), case.rules, case.vars)
    if case is Recurrent:
        return backend, state
    state, _ = epoch(backend, case.rules, state, case.windows())
    for player in range(len(case.parts)):
        state = accumulate(backend, state, case.windows()[0][0], player)
    return backend, state


CALLS = {
    "accumulate": (Averaging, lambda b, s: accumulate(b, s, Averaging.windows()[0][1])),
    "update": (Averaging, lambda b, s: update(b, Averaging.rules, s)[0]),
    "step": (Averaging, lambda b, s: step(b, Averaging.rules, s, Averaging.windows()[0])[0]),
    "epoch": (Averaging, lambda b, s: epoch(b, Averaging.rules, s, Averaging.windows())[0]),
    "several players": (Game, lambda b, s: epoch(b, Game.rules, s, Game.windows())[0]),
    "the second's update": (Game, lambda b, s: update(b, Game.rules, s, 1)[0]),
    "tbptt": (Recurrent, lambda b, s: tbptt(b, Recurrent.rules, s, Recurrent.windows()[0], window=2)[0]),
}
calls = pytest.mark.parametrize(("case", "call"), CALLS.values(), ids=CALLS.keys())


@on_every_backend
@calls
def test_a_state_that_was_copied_first_is_untouched(kind, case, call):
    backend, old = begun(kind, case)
    before = bits_of(kind, old)
    moved = call(backend, backend.copy(old))
    assert bits_of(kind, old) == before != bits_of(kind, moved)


@on_every_backend
@calls
def test_the_same_call_twice_gives_the_same_bits(kind, case, call):
    backend, old = begun(kind, case)
    assert bits_of(kind, call(backend, backend.copy(old))) == bits_of(kind, call(backend, backend.copy(old)))


@on_every_backend
@calls
def test_global_generators_are_not_moved(kind, case, call):
    import torch

    def generators():
        return random.getstate(), bits(np.random.get_state()), bits(torch.get_rng_state().numpy())

    backend, old = begun(kind, case)
    before = generators()
    call(backend, old)
    assert generators() == before


@on_every_backend
@pytest.mark.parametrize("case", [Averaging, Game, Recurrent])
def test_batches_are_not_written_to(kind, case):
    backend, state = begun(kind, case)
    given = case.windows()
    step(backend, case.rules, state, given[0])
    assert bits(given) == bits(case.windows())


@on_every_backend
@pytest.mark.parametrize("case", [Averaging, Game, Recurrent])
def test_no_two_leaves_share_memory(kind, case):
    """Neither within a state nor between it and its copy: what is moved in one would show in the other."""
    backend, one = begun(kind, case)
    arrays = [*kind.leaves(one), *kind.leaves(backend.copy(one))]
    assert len(arrays) >= 8
    assert [(i, j) for i, a in enumerate(arrays) for j, b in enumerate(arrays[:i]) if kind.shared(a, b)] == []


def test_the_state_carries_the_noise():
    """Another seed gives other numbers, the same seed the same: randomness is an argument like any other."""
    backend, rules = NumpyBackend(Part(restless, AdamW(0.05))), (RULE,)

    def run(rng: int) -> TrainState:
        state = backend.init(Averaging.params(), rules, rng=rng, vars=Averaging.vars)
        return step(backend, rules, state, Averaging.windows()[0])[0]

    assert bits(run(1).params) == bits(run(1).params)
    assert bits(run(1).params) != bits(run(2).params)
    assert run(1).rng == 3
