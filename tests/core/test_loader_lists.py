"""Lists of batches and lists of loaders: one rule for every stage, in torch and in JAX."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import functrain_jax as ft
import functrain_torch as pl
from functrain.data import ArrayLoader
from functrain.trainer.loader_forms import as_loaders
from functrain.trainer.reader import rest_of

A = np.arange(6, dtype=np.float32).reshape(3, 2)
QUIET = {"logger": False, "checkpoint_callback": False, "progress_bar_refresh_rate": 0, "weights_summary": None}

ONE = {
    "arrays": [A, A, A],
    "dicts": [{"x": A}, {"x": A}],
    "tuples": [(A, A), (A, A)],
    "nested": [(A, {"y": A}), (A, {"y": A})],
    "numbers": [1.0, 2.0],
    "one of a kind": [(A, A), [A, A]],
    "lists, as list(DataLoader) gives them": [[A, A], [A, A]],
    "lists of one": [[A], [A]],
}
SEVERAL = {
    "objects": [ArrayLoader(A, 1), ArrayLoader(A, 2)],
    "lists of tuples": [[(A, A)], [(A, A), (A, A)]],
    "lists of dicts": [[{"x": A}], [{"x": A}]],
    "a list beside an object": [[A, A], ArrayLoader(A, 1)],
    "a tuple of lists": ([A, A], [A]),
    "generators": [iter([A]), iter([A])],
}


@pytest.mark.parametrize("given", ONE.values(), ids=ONE)
def test_a_list_of_batches_is_one_loader(given):
    (loader,) = as_loaders(given)
    assert loader is given


@pytest.mark.parametrize("given", SEVERAL.values(), ids=SEVERAL)
def test_a_list_of_loaders_is_several(given):
    assert as_loaders(given) == list(given)


def test_batches_beside_loaders_say_how_to_write_it():
    with pytest.raises(ft.ConfigurationError, match="batches beside loaders"):
        as_loaders([A, ArrayLoader(A, 1)])


class TorchLine(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.ones(2))

    def training_step(self, batch, batch_idx):
        return ((batch["x"] * self.w) ** 2).mean()

    def validation_step(self, batch, batch_idx):
        self.log("first", batch["x"][0, 0])

    def predict_step(self, batch, batch_idx):
        return batch["x"] * self.w

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class JaxLine(ft.Module):
    def __init__(self):
        self.params = {"w": jnp.ones(2)}

    def training_step(self, batch, batch_idx):
        return ((batch["x"] * self.params["w"]) ** 2).mean()

    def validation_step(self, batch, batch_idx):
        self.log("first", batch["x"][0, 0])

    def predict_step(self, batch, batch_idx):
        return batch["x"] * self.params["w"]

    def configure_optimizers(self):
        return optax.sgd(0.1)


@pytest.mark.parametrize("world", ["torch", "jax"])
def test_a_list_of_dict_batches_trains_validates_and_predicts_as_one_loader(world):
    arrays = [A, A + 6, A + 12]
    batches = [{"x": torch.tensor(x) if world == "torch" else x} for x in arrays]
    module = TorchLine() if world == "torch" else JaxLine()
    trainer = (pl if world == "torch" else ft).Trainer(max_epochs=1, **QUIET)
    trainer.fit(module, batches, batches)
    assert trainer.global_step == 3
    assert float(trainer.callback_metrics["first"]) == np.mean([x[0, 0] for x in arrays])
    given = trainer.validate(module, batches, verbose=False)
    assert given == [{"first": 6.0}]
    assert [np.asarray(x).shape for x in trainer.predict(module, batches)] == [(3, 2)] * 3


class Lists:
    """Steps for batches that are lists."""

    def training_step(self, batch, batch_idx):
        return super().training_step({"x": batch[0]}, batch_idx)

    def validation_step(self, batch, batch_idx):
        super().validation_step({"x": batch[0]}, batch_idx)

    def predict_step(self, batch, batch_idx):
        return super().predict_step({"x": batch[0]}, batch_idx)


class TorchLists(Lists, TorchLine):
    pass


class JaxLists(Lists, JaxLine):
    pass


@pytest.mark.parametrize("world", ["torch", "jax"])
def test_a_list_of_list_batches_is_one_loader_in_every_stage(world):
    batches = [[torch.tensor(x) if world == "torch" else x] for x in (A, A + 6, A + 12)]
    module = TorchLists() if world == "torch" else JaxLists()
    trainer = (pl if world == "torch" else ft).Trainer(max_epochs=1, **QUIET)
    trainer.fit(module, batches, batches)
    assert trainer.global_step == 3
    assert trainer.validate(module, batches, verbose=False) == [{"first": 6.0}]
    assert len(trainer.predict(module, batches)) == 3


class OfList:
    """Its batch is a list of those of its loaders."""

    def training_step(self, batch, batch_idx):
        assert isinstance(batch, list | tuple)
        return sum(super(OfList, self).training_step(part, batch_idx) for part in batch)


class TorchOfList(OfList, TorchLine):
    pass


class JaxOfList(OfList, JaxLine):
    pass


@pytest.mark.parametrize("world", ["torch", "jax"])
@pytest.mark.parametrize("several", [lambda x: [x, x], lambda x: [x], lambda x: (x, x)], ids=["two", "one", "tuple"])
def test_several_loaders_are_told_apart_from_batches_in_training_too(world, several):
    batches = [{"x": torch.tensor(A) if world == "torch" else A}] * 2
    module = TorchOfList() if world == "torch" else JaxOfList()
    trainer = (pl if world == "torch" else ft).Trainer(max_epochs=1, **QUIET)
    trainer.fit(module, several(batches))
    assert trainer.global_step == 2


MIXED = {
    "an image and what is seen in it": [(A, [{"box": A}, {"box": A}])] * 2,
    "the same in lists": [[A, [{"box": A}, {"box": A}]]] * 2,
    "a dict with a list of dicts": [{"x": A, "seen": [{"box": A}]}] * 2,
}


@pytest.mark.parametrize("given", MIXED.values(), ids=MIXED)
def test_a_batch_may_hold_lists_beside_arrays(given):
    (loader,) = as_loaders(given)
    assert loader is given


class Noted(Sequence):
    """Ten batches; notes which were read."""

    def __init__(self):
        self.read = []

    def __len__(self):
        return 10

    def __getitem__(self, i):
        if i >= 10:
            raise IndexError(i)
        self.read.append(i)
        return i


class Reversed(Noted):
    def __iter__(self):
        return (self[i] for i in range(9, -1, -1))


def test_the_rest_of_a_sequence_is_read_without_what_was_seen():
    noted = Noted()
    assert list(rest_of(noted, 7)) == noted.read == [7, 8, 9]
    assert list(rest_of(list(range(10)), 7)) == list(rest_of(tuple(range(10)), 7)) == [7, 8, 9]


def test_what_is_gone_through_in_a_way_of_its_own_is_read_from_its_start():
    assert rest_of(Reversed(), 7) is None
    assert rest_of(iter(Noted()), 7) is None
