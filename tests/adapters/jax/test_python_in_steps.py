"""Functions of the host that a compiled step calls: prints, callbacks."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.experimental import io_callback

from tests.adapters.jax.common import Batches, Plain, trainer


def counted(seen):
    """A function of the host that computes with the array it is handed."""

    def count(i):
        seen.append(int(jnp.asarray(np.asarray(i)) + 1) - 1)

    return count


def counted_and_given(seen):
    def count(i):
        counted(seen)(i)
        return np.asarray(i)

    return count


def printed(i, seen):
    jax.debug.print("batch {}", i, ordered=True)
    return i


def called(i, seen):
    jax.debug.callback(counted(seen), i, ordered=True)
    return i


def called_for_a_value(i, seen):
    return jax.pure_callback(counted_and_given(seen), jax.ShapeDtypeStruct((), jnp.int32), i)


def called_with_effects(i, seen):
    return io_callback(counted_and_given(seen), jax.ShapeDtypeStruct((), jnp.int32), i, ordered=True)


@pytest.mark.parametrize("calls", [printed, called, called_for_a_value, called_with_effects])
def test_a_step_prints_and_calls_python_in_training_and_evaluation(calls, capfd):
    seen = []

    class Talks(Plain):
        def training_step(self, batch, batch_idx):
            self.log("i", calls(batch_idx, seen))
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch, batch_idx):
            self.log("i", calls(batch_idx, seen))

    trainer(max_epochs=1, num_sanity_val_steps=0).fit(Talks(), Batches(), Batches())
    jax.effects_barrier()
    if calls is printed:
        seen = [int(line.split()[1]) for line in capfd.readouterr().out.splitlines() if line.startswith("batch ")]
    assert seen == [*range(12)] * 2


def test_a_callback_that_only_the_gradient_calls_may_compute_with_arrays():
    seen = []

    def backward(g):
        jax.debug.callback(counted(seen), g.argmax())
        return (g,)

    @jax.custom_vjp
    def watched(x):
        return x

    watched.defvjp(lambda x: (x, None), lambda _, g: backward(g))

    class Watches(Plain):
        def forward(self, x):
            return watched(super().forward(x))

    trainer(max_epochs=1).fit(Watches(), Batches())
    jax.effects_barrier()
    assert len(seen) == 12


def test_a_callback_within_the_optimizer_may_compute_with_arrays():
    seen = []

    def update(updates, state, params=None):
        jax.debug.callback(counted(seen), jnp.int32(3))
        return updates, state

    watched = optax.GradientTransformation(lambda params: optax.EmptyState(), update)
    trainer(max_epochs=1).fit(Plain(optax.chain(watched, optax.sgd(0.1))), Batches())
    jax.effects_barrier()
    assert seen == [3] * 12
