"""`check_accumulation` passes sound modules, and tells apart why micro-batches do not add up to their batch."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import nnx
from torch.nn.functional import cross_entropy, log_softmax

from functrain.testing import NothingToCheck, check_accumulation
from tests.functional.modules_checked import (
    CLASSES,
    SOUND,
    WORLDS,
    JaxGan,
    JaxMlp,
    TorchGan,
    TorchMlp,
    X,
    Y,
    batch_of,
    in_torch,
)

MASK = np.array([1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1], np.float32)


class TorchLoss(TorchMlp):
    """Its loss is what `kind` says."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def training_step(self, batch, batch_idx):
        x, y = batch[:2]
        logits = self(x)
        if self.kind == "sum":
            return cross_entropy(logits, y, reduction="sum")
        if self.kind == "by a constant":
            return cross_entropy(logits, y, reduction="sum") / 12
        if self.kind == "contrast":
            return -log_softmax(logits @ logits.T, -1).diagonal().mean()
        if self.kind.startswith("mask"):
            loss = (cross_entropy(logits, y, reduction="none") * batch[2]).sum() / batch[2].sum()
            return {"loss": loss, "weight": batch[2].sum()} if self.kind == "masked" else loss
        assert self.kind == "weighted"
        return {"loss": cross_entropy(logits, y), "weight": len(x)}


class JaxLoss(JaxMlp):
    """Its loss is what `kind` says."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def training_step(self, batch, batch_idx):
        x, y = batch[:2]
        logits = self(x)
        each = optax.softmax_cross_entropy_with_integer_labels(logits, y)
        if self.kind == "sum":
            return each.sum()
        if self.kind == "by a constant":
            return each.sum() / 12
        if self.kind == "contrast":
            return optax.softmax_cross_entropy_with_integer_labels(logits @ logits.T, jnp.arange(len(x))).mean()
        if self.kind.startswith("mask"):
            loss = (each * batch[2]).sum() / batch[2].sum()
            return {"loss": loss, "weight": batch[2].sum()} if self.kind == "masked" else loss
        assert self.kind == "weighted"
        return {"loss": each.mean(), "weight": len(x)}


LOSSES = {"torch": TorchLoss, "jax": JaxLoss}


def masked(world):
    return in_torch((X, Y, MASK)) if world == "torch" else (X, Y, MASK)


@pytest.mark.parametrize(("world", "name"), [(world, name) for world, name in SOUND if name != "conv"])
def test_a_sound_module_passes(world, name):
    check_accumulation(CLASSES[world][name](), batch_of(world, name))


@pytest.mark.parametrize("world", WORLDS)
def test_unequal_micro_batches_pass_where_their_weights_are_returned(world):
    check_accumulation(LOSSES[world]("weighted"), batch_of(world), k=5)
    check_accumulation(LOSSES[world]("weighted"), batch_of(world), sizes=[1, 11])
    check_accumulation(LOSSES[world]("masked"), masked(world))


@pytest.mark.parametrize("world", WORLDS)
def test_unequal_micro_batches_without_a_weight_are_told(world):
    with pytest.raises(
        AssertionError,
        match=r"a weight that was forgotten: .* 0\.083 and 0\.917 .* by their 'weight' 0\.500 and 0\.500",
    ):
        check_accumulation(CLASSES[world]["mlp"](), batch_of(world), sizes=[1, 11])


@pytest.mark.parametrize("world", WORLDS)
def test_a_mean_over_tokens_without_its_weight_is_told(world):
    with pytest.raises(AssertionError, match=r"a weight that was forgotten: .* 0\.750 and 0\.250 .* 0\.500 and 0\.500"):
        check_accumulation(LOSSES[world]("mask without weight"), masked(world))


@pytest.mark.parametrize("kind", ["sum", "by a constant"])
@pytest.mark.parametrize("world", WORLDS)
def test_a_loss_that_is_no_mean_is_told_with_its_factor(world, kind):
    with pytest.raises(
        AssertionError, match=r"over 3 micro-batches of 4, 4 and 4 samples .* a loss that is no mean.* is 3 times"
    ):
        check_accumulation(LOSSES[world](kind), batch_of(world), k=3)


@pytest.mark.parametrize(
    ("world", "variables"), [("torch", r"first\.1\.running_mean and first\.1\.running_var"), ("jax", "norm.mean and")]
)
def test_batch_norm_is_told_by_its_variables(world, variables):
    with pytest.raises(AssertionError, match=rf"BatchNorm, .*: {variables}"):
        check_accumulation(CLASSES[world]["conv"](), batch_of(world, "conv"))


@pytest.mark.parametrize("world", WORLDS)
def test_a_loss_over_pairs_of_samples_is_told(world):
    with pytest.raises(AssertionError, match="a loss over several samples at once"):
        check_accumulation(LOSSES[world]("contrast"), batch_of(world))


class TorchUnfair(TorchGan):
    def training_step(self, batch, batch_idx, optimizer_idx):
        loss = super().training_step(batch, batch_idx, optimizer_idx)
        return loss * len(batch[0]) if optimizer_idx else loss


class JaxUnfair(JaxGan):
    def training_step(self, batch, batch_idx, optimizer_idx):
        loss = super().training_step(batch, batch_idx, optimizer_idx)
        return loss * len(batch[0]) if optimizer_idx else loss


class TorchTurns(TorchUnfair):
    """Its optimizers take turns, in which a window of micro-batches does not fit."""

    def configure_optimizers(self):
        return [{"optimizer": o, "frequency": n} for o, n in zip(super().configure_optimizers(), (3, 1), strict=True)]


class JaxTurns(JaxUnfair):
    """Its optimizers take turns, in which a window of micro-batches does not fit."""

    def configure_optimizers(self):
        return [{**o, "frequency": n} for o, n in zip(super().configure_optimizers(), (3, 1), strict=True)]


@pytest.mark.parametrize("module", [TorchUnfair, JaxUnfair, TorchTurns, JaxTurns])
def test_the_optimizer_whose_loss_is_no_mean_is_named(module):
    world = "torch" if issubclass(module, TorchMlp) else "jax"
    with pytest.raises(AssertionError, match=r"optimizer 1: the gradient of last\..* a loss that is no mean"):
        check_accumulation(module(), batch_of(world, "gan"))


class Noisy(TorchMlp):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * torch.rand(())


class Dropout(JaxMlp):
    """Its random numbers come from a stream of its own."""

    def __init__(self):
        super().__init__()
        self.drop = nnx.Dropout(0.5, rngs=nnx.Rngs(3))

    def forward(self, x):
        return self.last(self.drop(jnp.tanh(self.first(x))))


class Silent(TorchMlp):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * 0


class ByHand(TorchMlp):
    automatic_optimization = False


@pytest.mark.parametrize(
    ("module", "options", "said"),
    [
        (TorchMlp, {"k": 13}, "a batch of 12 samples cannot be cut into 13"),
        (Noisy, {}, r"another gradient \(random numbers"),
        (Dropout, {}, r"another gradient \(random numbers"),
        (Silent, {}, "no parameter has a gradient that is not zero"),
        (ByHand, {}, "ByHand optimizes by hand"),
    ],
)
def test_where_there_is_nothing_to_check_it_says_so(module, options, said):
    with pytest.raises(NothingToCheck, match=said):
        check_accumulation(module(), batch_of("torch" if issubclass(module, TorchMlp) else "jax"), **options)


@pytest.mark.parametrize(("options", "said"), [({"k": 1}, "k=1"), ({"sizes": [5, 5]}, "add up to the 12 samples")])
def test_impossible_arguments_are_named(options, said):
    with pytest.raises(ValueError, match=said):
        check_accumulation(TorchMlp(), batch_of("torch"), **options)


def test_the_module_and_its_weights_are_left_alone():
    module = CLASSES["torch"]["pieces"]()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    check_accumulation(module, batch_of("torch", "pieces"))
    assert module.truncated_bptt_steps == 3
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize("precision", ["bf16", 16])
@pytest.mark.parametrize("world", WORLDS)
def test_few_bits_are_no_defect_and_hide_none(world, precision):
    check_accumulation(CLASSES[world]["mlp"](), batch_of(world), precision=precision)
    with pytest.raises(AssertionError, match=r"a loss that is no mean.* is 2(\.0[0-9])? times"):
        check_accumulation(LOSSES[world]("sum"), batch_of(world), precision=precision)
