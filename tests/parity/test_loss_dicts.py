"""What a loss function's dict may hold: the same in torch and in JAX."""

import jax.numpy as jnp
import optax
import pytest
import torch

import functrain_jax
import functrain_torch


def run(world, extra, **options):
    def loss_fn(params, batch):
        return {"loss": (params["w"] * batch).mean(), **extra}

    if world == "torch":
        step = functrain_torch.make_step(loss_fn, lambda p: torch.optim.SGD(p, 0.1), **options)
        return step.step(step.init({"w": torch.ones(2)}), torch.ones(4, 2))
    step = functrain_jax.make_step(loss_fn, optax.sgd(0.1), **options)
    return step.step(step.init({"w": jnp.ones(2)}), jnp.ones((4, 2)))


@pytest.mark.parametrize("world", ["torch", "jax"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_key_that_a_step_would_drop_is_an_error(world, accumulate):
    with pytest.raises(ValueError, match=r"loss_fn returned 'accuracy', 'logits' beside the loss.*'vars'"):
        run(world, {"accuracy": 0.5, "logits": 1.0}, accumulate=accumulate)
    with pytest.raises(ValueError, match="'hiddens' is for tbptt"):
        run(world, {"hiddens": 1.0}, accumulate=accumulate)
    run(world, {"weight": 2.0}, accumulate=accumulate)


@pytest.mark.parametrize("world", ["torch", "jax"])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("weight", [0, 0.0, "array"])
def test_an_update_that_weighs_nothing_counts_as_skipped_in_every_world(world, accumulate, weight):
    zero = {"torch": torch.tensor, "jax": jnp.float32}[world](0.0) if weight == "array" else weight
    state, report = run(world, {"weight": zero}, accumulate=accumulate)
    assert (int(state.clock.update), int(state.clock.skipped)) == (1, 1)
    assert (float(report.weight), state.moved) == (0, False)
    assert int(run(world, {"weight": 2.0}, accumulate=accumulate)[0].clock.skipped) == 0
