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
def test_what_a_loss_function_returns_beside_the_loss_is_in_the_report(world, accumulate):
    _, report = run(world, {"accuracy": 0.5, "logits": 1.0, "weight": 2.0}, accumulate=accumulate)
    assert {name: float(value) for name, value in report.logged.items()} == {"accuracy": 0.5, "logits": 1.0}


def test_a_loss_function_may_return_a_pair_of_the_loss_and_the_rest():
    def loss_fn(params, batch):
        loss = (params["w"] * batch).mean()
        return loss, {"twice": 2 * loss}

    step = functrain_torch.make_step(loss_fn, lambda p: torch.optim.SGD(p, 0.1))
    _, report = step.step(step.init({"w": torch.ones(2)}), torch.ones(4, 2))
    assert (float(report.loss), float(report.logged["twice"])) == (1.0, 2.0)
    assert not report.logged["twice"].requires_grad
    assert report.rates == {"lr-SGD": 0.1}


def test_a_tuple_that_is_no_pair_of_loss_and_dict_is_an_error():
    step = functrain_torch.make_step(lambda p, x: (p["w"].sum(), 1), lambda p: torch.optim.SGD(p, 0.1))
    with pytest.raises(TypeError, match=r"returned a tuple of Tensor, int: return .*\(loss, aux\)"):
        step.step(step.init({"w": torch.ones(2)}), torch.ones(4, 2))


@pytest.mark.parametrize("world", ["torch", "jax"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_hidden_state_without_pieces_is_an_error(world, accumulate):
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
