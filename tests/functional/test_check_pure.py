"""`check_pure` passes sound modules, and names the first part in which a step is no function of state and batch."""

import random

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from torch import nn
from torchmetrics.classification import MulticlassAccuracy

import functrain_jax as ft
from functrain.testing import check_pure
from tests.functional.modules_checked import CLASSES, SOUND, JaxMlp, TorchMlp, batch_of

CALLS = [0]


def count():
    CALLS[0] += 1
    return np.float32(CALLS[0])


def counted():
    """How often it was called, as a traced value."""
    return jax.pure_callback(count, jax.ShapeDtypeStruct((), jnp.float32))


class JaxDraws(JaxMlp):
    """Draws from a generator that is no part of its state."""

    def __init__(self, draw):
        super().__init__()
        self.draw = draw

    def training_step(self, batch, batch_idx):
        self.draw()
        return super().training_step(batch, batch_idx)


class TorchAttribute(TorchMlp):
    def __init__(self, change):
        super().__init__()
        self.change = change
        self.calls, self.seen, self.mean, self.words = 0, [], torch.zeros(4), {"all": {1}}

    def training_step(self, batch, batch_idx):
        self.change(self, batch[0])
        return super().training_step(batch, batch_idx)


class JaxAttribute(JaxMlp):
    def __init__(self):
        super().__init__()
        self.table = np.zeros(3)

    def training_step(self, batch, batch_idx):
        self.table[0] += 1
        return super().training_step(batch, batch_idx)


class Shared(nn.Parameter):
    """Its copies are itself."""

    def __deepcopy__(self, memo):
        return self


class TorchShares(TorchMlp):
    def __init__(self):
        super().__init__()
        self.last.weight = Shared(self.last.weight.detach())


class TorchLogs(TorchMlp):
    def training_step(self, batch, batch_idx):
        self.log("calls", float(count()))
        return super().training_step(batch, batch_idx)


class JaxLogs(JaxMlp):
    def training_step(self, batch, batch_idx):
        self.log("calls", counted())
        return super().training_step(batch, batch_idx)


class Meter:
    """An object of the user's own."""

    def __init__(self):
        self.calls = 0


class TorchSeen(TorchMlp):
    """Has what a step may write into where nobody looks at first."""

    calls = 0

    def __init__(self):
        super().__init__()
        self._calls, self.meter = 0, Meter()


class TorchMetric(TorchMlp):
    """A metric object, lists of its own parameters and parts, and a generator of its own: all of it is in the state."""

    def __init__(self):
        super().__init__()
        self.accuracy = MulticlassAccuracy(3)
        self.weights, self.parts, self.noise = list(self.parameters()), [self.first], torch.Generator()

    def training_step(self, batch, batch_idx):
        self.accuracy(self(batch[0]), batch[1])
        self.log("accuracy", self.accuracy, on_epoch=True)
        return super().training_step(batch, batch_idx) + torch.rand((), generator=self.noise)


class JaxDrawsOnce(JaxMlp):
    """A generator of its own, from which Python draws while it traces."""

    def __init__(self):
        super().__init__()
        self._noise = random.Random(0)

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * (1 + self._noise.random())


class TorchBuffer(TorchMlp):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def training_step(self, batch, batch_idx):
        self.get_buffer("calls").fill_(float(count()))
        return super().training_step(batch, batch_idx)


class JaxBuffer(JaxMlp):
    def __init__(self):
        super().__init__()
        self.vars = {"calls": jnp.zeros(())}

    def training_step(self, batch, batch_idx):
        self.vars["calls"] = counted()
        return super().training_step(batch, batch_idx)


class Counting(torch.optim.SGD):
    """Keeps how often it was called, by anybody."""

    def step(self, closure=None):
        for weight in self.param_groups[0]["params"]:
            self.state[weight]["calls"] = torch.tensor(float(count()))
        return super().step(closure)


class TorchOptimizer(TorchMlp):
    def configure_optimizers(self):
        return Counting(self.parameters(), lr=0.01)


class JaxOptimizer(JaxMlp):
    def configure_optimizers(self):
        counting = optax.GradientTransformation(
            lambda params: {"calls": jnp.zeros(())}, lambda updates, state, params=None: (updates, {"calls": counted()})
        )
        return optax.chain(counting, optax.sgd(0.01))


class TorchLoss(TorchMlp):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * float(count())


class JaxLoss(JaxMlp):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * counted()


class TorchGradient(TorchMlp):
    """Its gradient depends on what is outside, and nothing that it reports."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss + (loss - loss.detach()) * float(count())


def world_of(module):
    return "torch" if isinstance(module, TorchMlp) else "jax"


@pytest.mark.parametrize(("world", "name"), SOUND)
def test_a_sound_module_passes(world, name):
    check_pure(CLASSES[world][name](), batch_of(world, name))


@pytest.mark.parametrize(
    ("draw", "name"),
    [
        (random.random, "python"),
        (np.random.rand, "numpy"),
        (lambda: torch.rand(()), "torch"),
        (ft.next_key, "jax"),
    ],
)
def test_a_global_generator_that_a_step_draws_from_is_named(draw, name):
    ft.seed_everything(0)
    with pytest.raises(AssertionError, match=f"moved the global generator of {name}"):
        check_pure(JaxDraws(draw), batch_of("jax"))


@pytest.mark.parametrize("draw", [random.random, np.random.rand, lambda: torch.rand(())])
def test_global_generators_are_part_of_a_state_of_torch(draw):
    check_pure(TorchAttribute(lambda module, x: draw()), batch_of("torch"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda module, x: setattr(module, "calls", module.calls + 1), "changed calls from 0 to 1"),
        (lambda module, x: module.seen.append(len(x)), r"changed seen from \[\] to \[12\]"),
        (lambda module, x: module.mean.copy_(x.mean(0)), r"changed mean from 'float32\(4,\) \w+' to 'float32\(4,\)"),
        (lambda module, x: module.words["all"].add(2), r"changed words\.all from \[1\] to \[1, 2\]"),
        (lambda module, x: setattr(module, "new", "text"), "set a new attribute, new, to 'text'"),
        (lambda module, x: setattr(module.first, "calls", 1), r"set a new attribute, first\.calls, to 1"),
    ],
)
def test_an_attribute_that_a_step_changes_is_named(change, said):
    with pytest.raises(AssertionError, match=said):
        check_pure(TorchAttribute(change), batch_of("torch"))


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda module: setattr(module, "_calls", module._calls + 1), "changed _calls from 0 to 1"),
        (lambda module: setattr(module.meter, "calls", 1), r"changed meter\.calls from 0 to 1"),
        (lambda module: setattr(TorchSeen, "calls", TorchSeen.calls + 1), r"changed TorchSeen\.calls from 0 to 1"),
    ],
)
def test_a_private_attribute_an_object_and_a_class_that_a_step_writes_into_are_named(write, said, monkeypatch):
    monkeypatch.setattr(TorchSeen, "calls", 0)
    monkeypatch.setattr(TorchSeen, "training_step", lambda self, batch, i: [write(self), self.loss(*batch)][1])
    with pytest.raises(AssertionError, match=said):
        check_pure(TorchSeen(), batch_of("torch"))


def test_metric_objects_and_lists_of_the_module_s_own_parts_are_no_defect():
    check_pure(TorchMetric(), batch_of("torch"))


def test_a_generator_of_the_module_that_tracing_draws_from_is_named():
    with pytest.raises(AssertionError, match="changed the generator _noise from"):
        check_pure(JaxDrawsOnce(), batch_of("jax"))


def test_a_step_that_writes_into_its_batch_is_told_so():
    with pytest.raises(AssertionError, match=r"written into its batch: first in array 0 of it \(12, 4\), by up to"):
        check_pure(TorchAttribute(lambda module, x: x.mul_(2)), [x.clone() for x in batch_of("torch")])


def test_an_array_among_the_attributes_that_tracing_changes_is_named():
    with pytest.raises(AssertionError, match=r"changed table from 'float64\(3,\) "):
        check_pure(JaxAttribute(), batch_of("jax"))


def test_a_part_that_two_states_share_is_named():
    with pytest.raises(AssertionError, match=r"written into the old state: first in last\.weight \(3, 32\), by up to"):
        check_pure(TorchShares(), batch_of("torch"))


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (TorchLoss, "first in the loss"),
        (JaxLoss, "first in the loss"),
        (TorchLogs, "first in what is logged as 'calls'"),
        (JaxLogs, "first in what is logged as 'calls'"),
        (TorchGradient, r"first in first\.weight"),
        (TorchBuffer, r"first in calls \(\), by up to 1"),
        (JaxBuffer, r"first in vars\.calls \(\), by up to 1"),
        (TorchOptimizer, r"first in optimizer 0: calls of first\.weight"),
        (JaxOptimizer, r"first in optimizer 0: 0\.calls"),
    ],
)
def test_the_first_part_that_differs_the_second_time_is_named(module, said):
    CALLS[0] = 0
    checked = module()
    with pytest.raises(AssertionError, match=f"the same step twice gives other bits: {said}"):
        check_pure(checked, batch_of(world_of(checked)))


class TorchTurns(TorchMlp):
    """Two optimizers that take turns, of which the second is moved by what is outside."""

    def training_step(self, batch, batch_idx, optimizer_idx):
        loss = super().training_step(batch, batch_idx)
        return loss * float(count()) if optimizer_idx else loss

    def configure_optimizers(self):
        made = [torch.optim.Adam(part.parameters(), lr=0.01) for part in (self.first, self.last)]
        return tuple({"optimizer": optimizer, "frequency": n} for optimizer, n in zip(made, (3, 1), strict=True))


class TorchEpochs(TorchMlp):
    """Counts the epochs among its attributes."""

    epochs = 0

    def on_train_epoch_end(self):
        self.epochs += 1


def test_an_optimizer_whose_turn_comes_later_is_looked_at():
    CALLS[0] = 0
    with pytest.raises(AssertionError, match="the same step twice gives other bits: first in the loss of optimizer 1"):
        check_pure(TorchTurns(), batch_of("torch"))


def test_the_end_of_an_epoch_is_looked_at():
    with pytest.raises(AssertionError, match="set a new attribute, epochs, to 1"):
        check_pure(TorchEpochs(), batch_of("torch"))


@pytest.mark.parametrize(("world", "name"), [("torch", "mlp"), ("jax", "mlp")])
def test_a_sound_module_passes_with_windows_of_several_batches(world, name):
    check_pure(CLASSES[world][name](), batch_of(world, name), accumulate_grad_batches=3)
