"""The largest batch size that fits: the search, real errors of memory, and where the size is looked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

import functrain_torch as pl
from functrain.tuner.batch_size import search
from tests.tuner.small import QUIET, Regression, loader, samples, trainer


@pytest.mark.parametrize("capacity", [1, 2, 3, 31, 32, 33, 100])
@pytest.mark.parametrize("first", [1, 2, 5, 64])
def test_the_search_finds_the_largest(capacity: int, first: int):
    tried: list[int] = []

    def fits(size: int) -> bool:
        tried.append(size)
        return size <= capacity

    assert search(fits, lambda: None, "binsearch", first, 25) == capacity
    assert len(tried) == len(set(tried))
    found = search(fits, lambda: None, "power", first, 25)
    assert found <= capacity
    assert 2 * found > capacity


def test_the_search_ends():
    tried: list[int] = []
    fits = lambda size: tried.append(size) or True  # noqa: E731
    assert search(fits, lambda: None, "power", 2, 3) == 16
    assert tried == [2, 4, 8, 16]
    # No batch is larger than the data.
    for mode in ("power", "binsearch"):
        tried.clear()
        assert search(fits, lambda: 20, mode, 2, 25) == 20
        assert tried == [2, 4, 8, 16, 20]
    assert search(fits, lambda: 20, "power", 64, 25) == 20
    with pytest.raises(pl.ConfigurationError, match="not enough memory for a batch of one sample"):
        search(lambda size: False, lambda: None, "power", 8, 25)


def memory_error() -> None:
    bytearray(2**62)


def torch_error() -> None:
    torch.empty(2**58)


def cuda_error() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")


class Hungry(Regression):
    """More than 21 samples do not fit."""

    def __init__(self, fails: Any = memory_error) -> None:
        super().__init__()
        self.fails = fails

    def training_step(self, batch, batch_idx):
        if len(batch[0]) > 21:
            self.fails()
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize("fails", [memory_error, torch_error, cuda_error])
@pytest.mark.parametrize(("flag", "found"), [(True, 16), ("power", 16), ("binsearch", 21)])
def test_it_survives_real_errors_of_memory(fails: Any, flag: Any, found: int):
    module, run = Hungry(fails), trainer(auto_scale_batch_size=flag, max_epochs=1)
    assert run.tune(module) == {"scale_batch_size": found}
    assert module.batch_size == found
    # The loaders are made anew, with that size.
    run.fit(module)
    assert max(module.sizes) == found


def test_a_first_size_that_does_not_fit_goes_down():
    module = Hungry()
    assert trainer().tuner.scale_batch_size(module, init_val=50, mode="binsearch") == 21
    assert trainer().tuner.scale_batch_size(module, init_val=50) == 12


def test_another_error_is_the_users_and_the_size_stays():
    def fails() -> None:
        raise RuntimeError("shapes do not match")

    module, run = Hungry(fails), trainer()
    with pytest.raises(RuntimeError, match="shapes do not match"):
        run.tuner.scale_batch_size(module)
    assert module.batch_size == 4
    assert run.run is None


def test_the_data_bounds_it():
    module = Regression()
    assert trainer().tuner.scale_batch_size(module, max_trials=25) == 60
    assert module.batch_size == 60


def test_data_without_a_length_bounds_it_too():
    class Stream(IterableDataset[Any]):
        def __iter__(self):
            return iter(samples(50))

    class Streaming(Regression):
        def train_dataloader(self):
            return DataLoader(Stream(), self.batch_size)

    assert trainer().tuner.scale_batch_size(Streaming()) == 50


def test_it_says_what_it_tries(capsys):
    trainer().tuner.scale_batch_size(Hungry(), init_val=8)
    assert capsys.readouterr().out.splitlines() == [
        "scale_batch_size: batch_size=8 fits.",
        "scale_batch_size: batch_size=16 fits.",
        "scale_batch_size: batch_size=32 does not fit.",
        "scale_batch_size: Hungry.batch_size = 16.",
    ]


class Data(pl.LightningDataModule):
    def __init__(self, batch_size: int = 4) -> None:
        super().__init__()
        self.save_hyperparameters()

    def train_dataloader(self):
        return loader(size=self.hparams.batch_size)


def test_the_size_of_a_data_module_and_a_name_of_ones_own():
    data, module = Data(), Hungry()
    del module.batch_size
    run = trainer(auto_scale_batch_size="binsearch")
    assert run.tune(module, datamodule=data)["scale_batch_size"] == 21
    assert data.hparams.batch_size == 21
    module.many = 4
    module.train_dataloader = lambda: loader(size=module.many)
    assert run.tune(module, scale_batch_size_kwargs={"batch_arg_name": "many"})["scale_batch_size"] == 21
    assert module.many == 21


def test_the_rate_is_found_with_the_new_size():
    module = Hungry()
    found = trainer(auto_scale_batch_size=True, auto_lr_find=True).tune(module, lr_find_kwargs={"num_training": 30})
    assert list(found) == ["scale_batch_size", "lr_find"]
    other = Hungry()
    other.batch_size = 16
    torch.manual_seed(0)
    first = trainer().tuner.lr_find(other, num_training=30)
    torch.manual_seed(0)
    again = trainer().tuner.lr_find(module, num_training=30)
    assert first is not None
    assert again is not None
    assert first.results == again.results


def test_a_scheduler_that_watches_a_metric_has_it():
    class Watches(Regression):
        def validation_step(self, batch, batch_idx):
            self.log("val_loss", (self(batch[0]) - batch[1]).square().mean())

        def val_dataloader(self):
            return loader(size=self.batch_size)

        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), lr=self.lr)
            scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
            return {"optimizer": optimizer, "lr_scheduler": scheduler, "monitor": "val_loss"}

    assert trainer().tuner.scale_batch_size(Watches()) == 60


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"mode": "double"}, "mode='double'"),
        ({"steps_per_trial": 0}, "steps_per_trial=0"),
        ({"init_val": 0}, "init_val=0"),
        ({"max_trials": -1}, "max_trials=-1"),
        ({"train_dataloaders": loader()}, "a loader was given"),
        ({"batch_arg_name": "batchsize"}, "neither Regression nor its hparams have 'batchsize'.*'batch_size'"),
    ],
)
def test_what_cannot_be(arguments: dict[str, Any], said: str):
    with pytest.raises(pl.ConfigurationError, match=said):
        trainer().tuner.scale_batch_size(Regression(), **arguments)


def test_fast_dev_run_leaves_it_out():
    with pytest.warns(UserWarning, match="scale_batch_size: skipped"):
        assert trainer(fast_dev_run=True).tuner.scale_batch_size(Regression()) is None


def test_the_tuner_of_newer_scripts():
    assert pl.tuner.Tuner(trainer()).scale_batch_size(Hungry(), mode="binsearch") == 21


def test_a_jax_module():
    import jax.numpy as jnp
    import optax

    import functrain_jax

    class Module(functrain_jax.Module):
        def __init__(self) -> None:
            self.params, self.batch_size = {"w": jnp.ones(3)}, 4

        def training_step(self, batch, batch_idx):
            if len(batch) > 21:
                raise MemoryError
            return ((batch @ self.params["w"]) ** 2).mean()

        def configure_optimizers(self):
            return optax.sgd(0.1)

        def train_dataloader(self):
            return functrain_jax.ArrayLoader(np.ones((60, 3), np.float32), self.batch_size)

    module = Module()
    found = functrain_jax.Trainer(**QUIET, auto_scale_batch_size="binsearch").tune(module)
    assert found == {"scale_batch_size": 21}
    assert module.batch_size == 21
