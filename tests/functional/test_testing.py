"""Each check of `functrain.testing` passes a sound module, and fails one with the defect that it names."""

import math
import random

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import nnx
from torch import nn

import functrain_jax as ft
import functrain_torch as pl
from functrain import testing

X = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
Y = np.arange(12) % 3
BATCHES = {"torch": (torch.tensor(X), torch.tensor(Y)), "jax": (X, Y)}
CALLS = [0]


class Torch(pl.LightningModule):
    """A small classifier; `defect` says what is wrong with it."""

    def __init__(self, defect=""):
        super().__init__()
        self.defect, self.calls = defect, 0
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(4, 32), nn.Linear(32, 3)
        if defect == "large":
            nn.init.normal_(self.last.weight, std=20.0)

    def training_step(self, batch, batch_idx):
        x, y = batch
        hidden = torch.tanh(self.first(x))
        if self.defect == "detached":
            hidden = hidden.detach()
        if self.defect == "zero":
            hidden = hidden * 0
        if self.defect == "attribute":
            self.calls += 1
        loss = nn.functional.cross_entropy(self.last(hidden), y)
        if self.defect == "not finite":
            loss = loss + torch.sqrt((self.last.bias * 0).sum())
        if self.defect == "global":
            CALLS[0] += 1
            loss = loss * CALLS[0]
        return loss

    def configure_optimizers(self):
        rate = 0.0 if self.defect == "still" else 0.05
        return torch.optim.Adam(self.parameters(), lr=rate)


class Jax(ft.Module):
    """The same in JAX."""

    def __init__(self, defect=""):
        self.defect = defect
        self.first, self.last = (nnx.Linear(*sizes, rngs=nnx.Rngs(0)) for sizes in ((4, 32), (32, 3)))
        if defect == "large":
            self.last.kernel[...] = 20 * jax.random.normal(jax.random.key(0), (32, 3))

    def training_step(self, batch, batch_idx):
        x, y = batch
        hidden = jnp.tanh(self.first(x))
        if self.defect == "detached":
            hidden = jax.lax.stop_gradient(hidden)
        if self.defect == "zero":
            hidden = hidden * 0
        loss = optax.softmax_cross_entropy_with_integer_labels(self.last(hidden), y).mean()
        if self.defect == "not finite":
            assert self.last.bias is not None
            loss = loss + jnp.sqrt((self.last.bias[...] * 0).sum())
        if self.defect == "drawn":
            loss = loss * (1 + random.random() + np.random.rand())
        return loss

    def configure_optimizers(self):
        return optax.adam(0.0 if self.defect == "still" else 0.05)


MODULES = {"torch": Torch, "jax": Jax}
CHECKS = {
    "gradients": testing.check_gradients,
    "init": lambda module, batch: testing.check_loss_at_init(module, batch, math.log(3), rtol=0.5),
    "overfits": testing.check_overfits,
    "pure": testing.check_pure,
}
DEFECTS = [
    ("torch", "gradients", "detached", r"first\.weight has no gradient"),
    ("jax", "gradients", "detached", r"the gradient of first\.\w+ \(.*\) is zero"),
    ("torch", "gradients", "zero", r"first\.weight \(32, 4\) is zero"),
    ("jax", "gradients", "zero", r"the gradient of first\.\w+ \(.*\) is zero"),
    ("torch", "gradients", "not finite", r"last\.bias is not finite in 3 of its 3"),
    ("jax", "gradients", "not finite", r"last\.bias is not finite in 3 of its 3"),
    ("torch", "init", "large", r"the first loss is .*, not 1\.09861"),
    ("jax", "init", "large", r"the first loss is .*, not 1\.09861"),
    ("torch", "overfits", "still", "after 100 updates of one batch"),
    ("jax", "overfits", "still", "after 100 updates of one batch"),
    ("torch", "pure", "attribute", "has changed calls from 0 to 1"),
    ("torch", "pure", "global", "other bits: first in the loss"),
    ("jax", "pure", "drawn", "moved the global generator of python"),
]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("world", MODULES)
def test_a_sound_module_passes(world, check):
    CHECKS[check](MODULES[world](), BATCHES[world])


@pytest.mark.parametrize(("world", "check", "defect", "said"), DEFECTS)
def test_a_defect_is_found_and_named(world, check, defect, said):
    CALLS[0] = 0
    with pytest.raises(AssertionError, match=said):
        CHECKS[check](MODULES[world](defect), BATCHES[world])


def test_what_is_no_module_is_named():
    with pytest.raises(TypeError, match="no module of functrain_torch or functrain_jax"):
        testing.check_pure(nn.Linear(2, 2), X)


class TorchTurns(Torch):
    """The second of two optimizers, which take turns, does not learn; the rates of both end with the first epoch."""

    def training_step(self, batch, batch_idx, optimizer_idx):
        return super().training_step(batch, batch_idx)

    def configure_optimizers(self):
        made = [torch.optim.Adam(part.parameters(), lr=0.05) for part in (self.first, self.last)]
        ends = [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.0) for optimizer in made]
        turns = [
            {"optimizer": o, "lr_scheduler": s, "frequency": n} for o, s, n in zip(made, ends, (3, 1), strict=True)
        ]
        return tuple(turns)


class JaxTurns(Jax):
    """Two optimizers that take turns."""

    def configure_optimizers(self):
        return [
            {"optimizer": optax.adam(0.05), "params": "first", "frequency": 3},
            {"optimizer": optax.adam(0.05), "params": "last", "frequency": 1},
        ]


@pytest.mark.parametrize("optimizer", [0, 1])
@pytest.mark.parametrize("flags", [{}, {"accumulate_grad_batches": 3}])
@pytest.mark.parametrize(("world", "module"), [("torch", TorchTurns), ("jax", JaxTurns)])
def test_each_of_two_optimizers_that_take_turns_learns_and_no_epoch_ends_meanwhile(world, module, flags, optimizer):
    testing.check_overfits(module(), BATCHES[world], optimizer=optimizer, updates=60, factor=0.2, **flags)
    testing.check_loss_at_init(module(), BATCHES[world], math.log(3), rtol=0.5, optimizer=optimizer, **flags)


class ByHand(Torch):
    automatic_optimization = False


class Nothing(Torch):
    def training_step(self, batch, batch_idx):
        return None


@pytest.mark.parametrize("check", ["init", "overfits"])
@pytest.mark.parametrize(
    ("module", "said"), [(ByHand, "ByHand optimizes by hand"), (Nothing, "makes an update within")]
)
def test_where_there_is_no_loss_it_says_so(module, check, said):
    with pytest.raises(testing.NothingToCheck, match=said):
        CHECKS[check](module(), BATCHES["torch"])


class Below(Torch):
    """Its loss begins below zero, as a log-likelihood of densities may."""

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) - 5


class Rises(Torch):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return 2 * loss.detach() - loss


def test_a_part_of_a_loss_below_zero_is_no_goal():
    with pytest.raises(testing.NothingToCheck, match=r"the loss begins at -3.*check one that is above 0"):
        testing.check_overfits(Below(), BATCHES["torch"])


def test_a_loss_that_rises_and_a_part_that_stays_are_told_apart():
    with pytest.raises(AssertionError, match="a loss with the wrong sign"):
        testing.check_overfits(Rises(), BATCHES["torch"])
    with pytest.raises(AssertionError, match=r"and first\.weight, first\.bias have not moved"):
        testing.check_overfits(Torch("detached"), BATCHES["torch"], updates=3)


@pytest.mark.parametrize(
    ("check", "arguments", "said"),
    [
        (testing.check_overfits, {"optimizer": 1}, r"check_overfits\(optimizer=1\): there are 1"),
        (testing.check_overfits, {"updates": 0}, "must be at least 1"),
        (testing.check_overfits, {"factor": 2.0}, "above 0 and below 1"),
        (testing.check_loss_at_init, {"expected": 1.0, "optimizer": -1}, r"check_loss_at_init\(optimizer=-1\)"),
    ],
)
def test_arguments_with_which_nothing_would_be_checked_are_named(check, arguments, said):
    with pytest.raises(ValueError, match=said):
        check(Torch(), BATCHES["torch"], **arguments)
