"""`donate=False`: the old state stays valid, calls repeat to the bit, and no global generator moves."""

import random

import numpy as np
import pytest

from tests.oracle import bits

PARAMS = {"w": np.full((3, 2), 0.5, np.float32)}
BATCH = np.arange(12, dtype=np.float32).reshape(4, 3) / 12


class Torch:
    """A step with dropout and momentum."""

    def __init__(self, lr=0.1):
        import functrain_torch

        self.torch = pytest.importorskip("torch")
        functional = self.torch.nn.functional
        init, self.step, _ = functrain_torch.make_step(
            lambda params, x: (functional.dropout(x @ params["w"], 0.5) ** 2).mean(),
            lambda params: self.torch.optim.SGD(params, lr, momentum=0.9),
            accumulate=2,
            donate=False,
        )
        self.state = init({name: self.torch.tensor(p) for name, p in PARAMS.items()})
        self.batch = self.torch.tensor(BATCH)

    def bits(self, state):
        params = {name: p.detach().numpy() for name, p in state.params.items()}
        velocities = [s["momentum_buffer"].numpy() for s in state.players[0].opt.state_dict()["state"].values()]
        return bits((params, velocities, state.rng.numpy(), tuple(state.clock)))

    def generators(self):
        return self.torch.get_rng_state().numpy()


class Jax:
    """A step with dropout and momentum."""

    def __init__(self, lr=0.1):
        self.jax = pytest.importorskip("jax")
        import optax

        import functrain_jax

        def loss(params, x, rng):
            h = x @ params["w"]
            return (self.jax.numpy.where(self.jax.random.bernoulli(rng, 0.5, h.shape), 2 * h, 0) ** 2).mean()

        init, self.step, _ = functrain_jax.make_step(loss, optax.sgd(lr, momentum=0.9), accumulate=2, donate=False)
        self.state = init(PARAMS, rng=0)
        self.batch = self.jax.numpy.asarray(BATCH)

    def bits(self, state):
        key = self.jax.random.key_data(state.rng)
        return bits([np.array(leaf) for leaf in self.jax.tree.leaves(state._replace(rng=key))])

    def generators(self):
        return None


@pytest.fixture(params=[Torch, Jax])
def case(request):
    case = request.param()
    # Two steps on, so that the optimizer has a state of its own.
    case.state, _ = case.step(*case.step(case.state, case.batch)[:1], case.batch)
    return case


def test_the_old_state_stays_as_it_was(case):
    before = case.bits(case.state)
    new, _ = case.step(case.state, case.batch)
    assert case.bits(case.state) == before != case.bits(new)


def test_the_same_call_twice_gives_the_same_bits(case):
    once, first = case.step(case.state, case.batch)
    again, second = case.step(case.state, case.batch)
    assert case.bits(once) == case.bits(again)
    assert float(first.loss) == float(second.loss)


def test_noise_is_fresh_in_the_next_step(case):
    """With a learning rate of 0 only the noise can tell two steps apart."""
    still = type(case)(lr=0.0)
    state, first = still.step(still.state, still.batch)
    _, second = still.step(state, still.batch)
    assert float(first.loss) != float(second.loss)


def test_global_generators_are_not_moved(case):
    def generators():
        return random.getstate(), bits(np.random.get_state()), bits(case.generators())

    before = generators()
    case.step(case.state, case.batch)
    assert generators() == before
