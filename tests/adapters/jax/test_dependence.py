"""A loss that nothing to be trained can move is an error; one whose gradient is zero by value is not."""

import jax
import jax.numpy as jnp
import optax
import pytest

import functrain_jax as ft
from tests.adapters.jax.common import Batches, Plain, bits, trainer
from tests.adapters.jax.test_players import Game

SAYS = "the loss does not depend on"


@pytest.mark.parametrize(
    "loss",
    [
        lambda self, batch: 3.0,
        lambda self, batch: jnp.mean(batch[0]),
        lambda self, batch: jax.lax.stop_gradient(self(batch[0])).mean(),
        lambda self, batch: (self(batch[0]).argmax(-1) == batch[1]).mean(),
    ],
    ids=["a number", "of the batch alone", "stop_gradient", "accuracy"],
)
def test_a_loss_without_parameters_raises_as_in_torch(loss):
    cls = type("Faulty", (Plain,), {"training_step": lambda self, batch, batch_idx: loss(self, batch)})
    for flags in ({}, {"accumulate_grad_batches": 2}):
        with pytest.raises(ft.ConfigurationError, match=rf"Faulty\.training_step: {SAYS} the parameters"):
            trainer(max_epochs=1, **flags).fit(cls(), Batches())


def test_a_gradient_that_is_zero_by_value_trains():
    def step(self, batch, batch_idx):
        dead = jax.nn.relu(self(batch[0]) - 1e6).mean()
        return dead + 0.0 * jax.lax.stop_gradient(self.params["b"]).sum()

    module = type("Dead", (Plain,), {"training_step": step})(optax.sgd(0.1))
    trainer(max_epochs=1).fit(module, Batches())
    assert bits(module.params["b"]).tolist() == [0.0, 0.0, 0.0]


def test_each_player_must_move_its_own_loss():
    class Wrong(Game):
        def training_step(self, batch, batch_idx, optimizer_idx):
            if optimizer_idx == 0:
                return self.discriminator(batch[0]).mean()
            return super().training_step(batch, batch_idx, optimizer_idx)

    configured = {"generator": optax.sgd(0.1), "discriminator": optax.sgd(0.1)}
    with pytest.raises(ft.ConfigurationError, match=rf"{SAYS} self\.generator"):
        trainer(max_epochs=1).fit(Wrong(configured), Batches())


def test_the_step_alone_raises_too():
    @jax.custom_vjp
    def own(x):
        return 2 * x

    own.defvjp(lambda x: (2 * x, None), lambda _, cotangent: (2 * cotangent,))

    def constant(params, batch):
        return jnp.mean(batch)

    step = ft.make_step(constant, optax.sgd(0.1))
    with pytest.raises(ft.ConfigurationError, match=rf"constant: {SAYS} the parameters"):
        step.step(step.init({"w": jnp.ones(2)}), jnp.ones(3))
    step = ft.make_step(lambda params, batch: own(params["w"]).sum() * batch.mean(), optax.sgd(0.1), accumulate=3)
    state, _ = jax.vmap(step.step, in_axes=(0, None))(jax.vmap(step.init)({"w": jnp.ones((4, 2))}), jnp.ones(3))
    assert state.params["w"].tolist() == [[pytest.approx(0.8)] * 2] * 4
