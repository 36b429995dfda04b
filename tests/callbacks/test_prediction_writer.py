"""BasePredictionWriter: what is written when, with which numbers of samples, in both worlds."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, TensorDataset

import functrain_jax as ft
import functrain_torch as pl
from functrain.trainer.errors import ConfigurationError
from functrain_torch.callbacks import BasePredictionWriter
from tests.callbacks.test_jax import Line

pytestmark = pytest.mark.filterwarnings("ignore:predict_dataloader. its sampler has shuffling:UserWarning")

X = torch.arange(10.0).reshape(10, 1)


def loader(seed: int = 0, **more: Any) -> DataLoader:
    shuffled = {"batch_size": 4, "shuffle": True, "generator": torch.Generator().manual_seed(seed)}
    return DataLoader(TensorDataset(X), **(more or shuffled))


class Doubles(pl.LightningModule):
    def predict_step(self, batch, batch_idx):
        return 2 * batch[0]


class Writes:
    """Keeps what it is given to write."""

    batches: list[Any]
    epochs: list[Any]

    def __init__(self, interval: str) -> None:
        super().__init__(interval)
        self.batches: list[Any] = []
        self.epochs: list[Any] = []

    def write_on_batch_end(self, trainer, pl_module, prediction, batch_indices, batch, batch_idx, dataloader_idx):
        self.batches.append((prediction.tolist(), batch_indices, batch[0].tolist(), batch_idx, dataloader_idx))

    def write_on_epoch_end(self, trainer, pl_module, predictions, batch_indices):
        self.epochs.append((predictions, batch_indices))


class Writer(Writes, BasePredictionWriter):
    pass


def numbers(make: Any, loaders: Any, **flags: Any) -> Any:
    writer = Writer("epoch")
    make(writer, **flags).predict(Doubles(), loaders, return_predictions=False)
    ((predictions, (indices,)),) = writer.epochs
    told = [[2.0 * i for i in batch] for batch in indices]
    assert [p.flatten().tolist() for p in predictions] == told, "each number is its sample's"
    return indices


@pytest.mark.parametrize(
    "more",
    [
        {"batch_size": 3},
        {"batch_size": 3, "drop_last": True},
        {"batch_size": 3, "num_workers": 2},
        {"batch_size": None, "sampler": RandomSampler(X)},
        {"batch_sampler": BatchSampler(RandomSampler(X), 4, False)},
    ],
)
def test_the_numbers_are_those_of_the_samples(make, more):
    found = numbers(make, loader(**more))
    assert sum(map(len, found)) == (9 if more.get("drop_last") else 10)


def test_they_are_those_of_the_batches_that_a_limit_leaves(make):
    assert len(numbers(make, loader(), limit_predict_batches=2)) == 2


def test_the_order_is_that_of_a_run_without_it(make):
    torch.manual_seed(3)
    without = make().predict(Doubles(), loader(batch_size=4, shuffle=True))
    torch.manual_seed(3)
    found = numbers(make, loader(batch_size=4, shuffle=True))
    assert [i for batch in found for i in batch] == (torch.cat(without).flatten() / 2).tolist()


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(x,) for x in X])


@pytest.mark.parametrize("given", [DataLoader(Stream(), batch_size=5), [[X[:5]], [X[5:]]]])
def test_a_loader_that_does_not_tell_gives_none_and_one_warning(make, given):
    writer = Writer("batch_and_epoch")
    with pytest.warns(UserWarning, match=f"{type(given).__name__} does not tell which samples") as told:
        make(writer).predict(Doubles(), given)
    assert len(told) == 1
    assert [batch[1] for batch in writer.batches] == [None, None]
    assert writer.epochs[0][1] == [[None, None]]


def test_each_prediction_is_written_by_itself(make):
    writer = Writer("epoch")
    trainer = make(writer)
    for _ in range(2):
        trainer.predict(Doubles(), loader())
    assert [len(predictions) for predictions, _ in writer.epochs] == [3, 3]


def test_what_is_not_returned_is_not_kept(make):
    seen: list[Any] = []

    class Watches(Writer):
        def write_on_batch_end(self, trainer, pl_module, prediction, *rest):
            gc.collect()
            assert sum(ref() is not None for ref in seen) <= 1, "at most the batch before is alive"
            seen.append(weakref.ref(prediction))

    assert make(Watches("batch")).predict(Doubles(), loader(batch_size=1), return_predictions=False) is None
    assert len(seen) == 10


def test_an_interval_that_is_none_and_a_method_that_is_missing_are_errors(make):
    with pytest.raises(ConfigurationError, match=r"Writer\(write_interval='step'\): must be 'batch', 'epoch' or"):
        Writer("step")

    class Nothing(BasePredictionWriter):
        pass

    for interval, name in (("batch", "write_on_batch_end"), ("epoch", "write_on_epoch_end")):
        with pytest.raises(ConfigurationError, match=rf"Nothing\(write_interval='{interval}'\): define {name}"):
            make(Nothing(interval)).predict(Doubles(), loader())


def test_fit_needs_nothing_of_it(make):
    class Net(Doubles):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def training_step(self, batch, batch_idx):
            return (self.weight * batch[0]).mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    make(BasePredictionWriter(), max_epochs=1).fit(Net(), loader())


def test_in_jax_too(tmp_path):
    class Predicts(Line):
        def predict_step(self, batch, batch_idx):
            return 2 * batch[0]

    class Notes(BasePredictionWriter):
        def write_on_epoch_end(self, trainer, pl_module, predictions, batch_indices):
            self.written = predictions, batch_indices

    def collate(samples: Any) -> Any:
        return (np.stack([sample[0].numpy() for sample in samples]),)

    writer = Notes("epoch")
    trainer = ft.Trainer(callbacks=[writer], logger=False, progress_bar_refresh_rate=0, default_root_dir=str(tmp_path))
    given = loader(batch_size=4, shuffle=True, collate_fn=collate)
    assert trainer.predict(Predicts(), given, return_predictions=False) is None
    predictions, (indices,) = writer.written
    assert [jnp.ravel(p).tolist() for p in predictions] == [[2.0 * i for i in batch] for batch in indices]
    returned = trainer.predict(Predicts(), given)
    assert sorted(np.concatenate(returned).ravel()) == sorted((2 * X).flatten().tolist())
    quiet = ft.Trainer(logger=False, progress_bar_refresh_rate=0)
    assert quiet.predict(Predicts(), given, return_predictions=False) is None
