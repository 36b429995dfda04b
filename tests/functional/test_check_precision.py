"""`check_precision` passes sound modules, and names where few bits learn something else."""

import jax.numpy as jnp
import pytest
import torch
from torch import nn

from functrain.testing import NothingToCheck, check_precision
from tests.functional.modules_checked import CLASSES, SOUND, WORLDS, JaxMlp, TorchMlp, batch_of


class TorchDefect(TorchMlp):
    def __init__(self, defect):
        super().__init__()
        self.defect = defect

    def forward(self, x):
        out = super().forward(x)
        if self.defect == "far":
            return (out + 1000) - 1000
        return out if self.defect == "offset" else out * 1e4 * 1e4

    def loss(self, x, y):
        return super().loss(x, y).float() + (100 if self.defect == "offset" else 0)


class JaxDefect(JaxMlp):
    def __init__(self, defect):
        super().__init__()
        self.defect = defect

    def forward(self, x):
        out = super().forward(x)
        if self.defect == "far":
            return (out + 1000) - 1000
        return out if self.defect == "offset" else out * 1e4 * 1e4

    def loss(self, x, y):
        return super().loss(x, y).astype(jnp.float32) + (100 if self.defect == "offset" else 0)


DEFECTS = {"torch": TorchDefect, "jax": JaxDefect}


@pytest.mark.parametrize("precision", ["bf16", 16])
@pytest.mark.parametrize(("world", "name"), SOUND)
def test_a_sound_module_passes(world, name, precision):
    if (world, name, precision) == ("torch", "lstm", 16):
        pytest.skip("torch has no LSTM in float16 on a CPU")
    check_precision(CLASSES[world][name](), batch_of(world, name), precision=precision)


@pytest.mark.parametrize("world", WORLDS)
def test_numbers_that_lose_their_bits_are_told_with_the_furthest_parameter(world):
    with pytest.raises(
        AssertionError, match=r"the loss of update \d .* precision='bf16', .* the furthest .* \w+\.\w+, by"
    ):
        check_precision(DEFECTS[world]("far"), batch_of(world))


@pytest.mark.parametrize("world", WORLDS)
def test_an_overflow_at_any_loss_scale_is_told(world):
    with pytest.raises(AssertionError, match="at precision=16 no gradient of update 1 is finite at any loss scale"):
        check_precision(DEFECTS[world]("overflow"), batch_of(world), precision=16)


class TorchUnderflows(TorchMlp):
    """What it divides by has too few bits for the squares in it."""

    def forward(self, x):
        small = self.first(x) * 1e-4
        return self.last(small / ((small * small).mean(1, keepdim=True) + 1e-10).sqrt())


def test_an_overflow_at_any_loss_scale_is_told_with_the_loss_where_it_is_there():
    with pytest.raises(AssertionError, match="finite at any loss scale, nor is the loss"):
        check_precision(TorchUnderflows(), batch_of("torch"), precision=16)


@pytest.mark.parametrize("world", WORLDS)
def test_parameters_that_are_off_are_told_though_the_loss_is_near(world):
    with pytest.raises(AssertionError, match=r"after 5 updates \w+\.\w+ \(.*\) is off by .* at precision='bf16'"):
        check_precision(DEFECTS[world]("offset"), batch_of(world), rtol=2e-4)


class Dropout(TorchMlp):
    def __init__(self):
        super().__init__()
        self.last = nn.Sequential(nn.Dropout(0.9), self.last)


class Still(TorchMlp):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * 0


class Broken(TorchMlp):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * float("nan")


@pytest.mark.parametrize(
    ("module", "said"),
    [(Dropout, "draws random numbers"), (Still, "have changed nothing"), (Broken, "single precision are not finite")],
)
def test_where_there_is_nothing_to_check_it_says_so(module, said):
    with pytest.raises(NothingToCheck, match=said):
        check_precision(module(), batch_of("torch"), rtol=1e-3)


def test_single_precision_is_not_held_against_itself():
    with pytest.raises(ValueError, match="precision=32"):
        check_precision(TorchMlp(), batch_of("torch"), precision=32)


class Turns(TorchMlp):
    """Two optimizers that take turns, of which the second has too few bits."""

    def training_step(self, batch, batch_idx, optimizer_idx):
        loss = super().training_step(batch, batch_idx)
        return (self.last(torch.tanh(self.first(batch[0]))) + 1000 - 1000).square().mean() if optimizer_idx else loss

    def configure_optimizers(self):
        made = [torch.optim.Adam(part.parameters(), lr=0.01) for part in (self.first, self.last)]
        return tuple({"optimizer": optimizer, "frequency": 1} for optimizer in made)


def test_the_optimizer_whose_turn_comes_later_is_looked_at():
    with pytest.raises(AssertionError, match="the loss of update 2 is"):
        check_precision(Turns(), batch_of("torch"))
