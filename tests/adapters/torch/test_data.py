"""Where loaders come from, data modules, and a batch's way to the device."""

from contextlib import nullcontext
from typing import Any, NamedTuple

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import functrain_torch as pl
from functrain.trainer.errors import OlderNameWarning
from tests import inside
from tests.adapters.torch.small import Net, Stream, Validated, batches, samples, trainer


class Loading(Validated):
    """Has every loader; notes which it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.sizes: list[int] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.sizes.append(len(batch[0]))
        return self.loss(batch)

    def train_dataloader(self) -> Any:
        self.asked.append("train")
        return batches(2, size=2)

    def val_dataloader(self) -> Any:
        self.asked.append("val")
        return batches(1)

    def test_dataloader(self) -> Any:
        self.asked.append("test")
        return batches(1)


def test_the_modules_own_loaders():
    model, run = Loading(), trainer(max_epochs=2)
    run.fit(model)
    run.test(model, verbose=False)
    assert model.asked == ["val", "train", "test"]
    assert model.sizes == [2, 2, 2, 2]


def test_given_loaders_come_first():
    model, run = Loading(), trainer(max_epochs=1)
    run.fit(model, batches(1, size=3), batches(1))
    run.test(model, batches(1), verbose=False)
    assert model.asked == []
    assert model.sizes == [3]


@pytest.mark.parametrize("flag", [{"reload_dataloaders_every_n_epochs": 2}, {"reload_dataloaders_every_epoch": True}])
def test_reloading(flag: dict[str, Any]):
    model = Loading()
    old = "reload_dataloaders_every_epoch" in flag
    with pytest.warns(OlderNameWarning, match="reload_dataloaders_every_n_epochs") if old else nullcontext():
        run = trainer(max_epochs=4, num_sanity_val_steps=0, **flag)
    run.fit(model)
    assert model.asked.count("train") == model.asked.count("val") == (4 if old else 2)


def test_reloaded_loaders_may_have_another_length():
    """The last window and validation are where the new loader ends."""

    class Growing(Loading):
        def train_dataloader(self) -> Any:
            return batches(2 + 3 * self.current_epoch)

        def on_validation_epoch_start(self) -> None:
            self.sizes.append(0)

    model = Growing()
    run = trainer(max_epochs=2, num_sanity_val_steps=0, reload_dataloaders_every_n_epochs=1, accumulate_grad_batches=2)
    run.fit(model)
    assert model.sizes == [4, 4, 0, 4, 4, 4, 4, 4, 0]
    assert run.global_step == 1 + 3


def test_given_validation_loaders_stay_when_reloading():
    seen = []

    class Seeing(Net):
        def train_dataloader(self) -> Any:
            return batches(1)

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            seen.append(self.current_epoch)

    trainer(max_epochs=3, num_sanity_val_steps=0, reload_dataloaders_every_n_epochs=1).fit(
        Seeing(), val_dataloaders=batches(1)
    )
    assert seen == [0, 1, 2]


def test_any_iterable_of_batches():
    """A list of batches; an object that makes a generator each time."""

    class Fresh:
        def __iter__(self) -> Any:
            return iter(list(batches(3)))

    for loader in (list(batches(3)), Fresh()):
        run = trainer(max_epochs=2)
        run.fit(Net(), loader)
        assert run.global_step == 6


# data modules


class Data(pl.LightningDataModule):
    """Makes its data in setup; keeps what it was asked."""

    def __init__(self, size: int = 4) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.calls: list[str] = []

    def prepare_data(self) -> None:
        self.calls.append("prepare")

    def setup(self, stage: str | None = None) -> None:
        self.calls.append(f"setup {stage}")
        self.data = samples(8)

    def teardown(self, stage: str | None = None) -> None:
        self.calls.append(f"teardown {stage}")

    def loader(self) -> Any:
        return DataLoader(self.data, batch_size=self.hparams.size)

    def train_dataloader(self) -> Any:
        return self.loader()

    def val_dataloader(self) -> Any:
        return [self.loader(), self.loader()]

    test_dataloader = predict_dataloader = train_dataloader


class Counting(Validated):
    """Takes points alone for its prediction; no validation loaders' indices."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int) -> Any:
        self.log("val_loss", self.loss(batch))

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return self(batch[0])


def test_a_data_module_through_every_stage():
    model, data, run = Counting(), Data(), trainer(max_epochs=1)
    run.fit(model, datamodule=data)
    assert run.global_step == 2
    assert {"val_loss/dataloader_idx_0", "val_loss/dataloader_idx_1"} <= set(run.callback_metrics)
    assert data.trainer is run
    run.test(datamodule=data, verbose=False)
    run.validate(model, data, verbose=False)
    assert [len(part) for part in run.predict(model, data)] == [4, 4]
    stages = ("fit", "test", "validate", "predict")
    assert data.calls == [call for stage in stages for call in ("prepare", f"setup {stage}", f"teardown {stage}")]


def test_a_data_module_at_the_loaders_place():
    data = Data()
    trainer(max_epochs=1).fit(Counting(), data)
    assert data.calls[0] == "prepare"


def test_the_fits_data_module_serves_what_follows():
    data, run = Data(), trainer(max_epochs=1)
    run.fit(Counting(), datamodule=data)
    assert "test_loss" in run.test(verbose=False)[0]


def test_a_data_module_comes_before_the_modules_loaders():
    model = Loading()
    trainer(max_epochs=1, limit_val_batches=0).fit(model, datamodule=Data(size=8))
    assert model.sizes == [8]
    assert model.asked == []


def test_from_datasets():
    data = pl.LightningDataModule.from_datasets(
        samples(8), [samples(4), samples(4)], samples(6), samples(6), batch_size=4
    )
    run = trainer(max_epochs=1)
    run.fit(Counting(), datamodule=data)
    assert isinstance(data.train_dataloader().sampler, torch.utils.data.RandomSampler)
    assert len(data.val_dataloader()) == 2
    assert [len(part) for part in run.predict(datamodule=data)] == [4, 2]
    assert run.test(datamodule=data, verbose=False)
    streamed = pl.LightningDataModule.from_datasets(Stream(6), batch_size=4)
    assert isinstance(streamed.train_dataloader().dataset, IterableDataset)
    run.fit(Net(), datamodule=streamed)
    assert run.global_step == 2


def test_hyperparameters_and_state_of_a_data_module(tmp_path: Any):
    class Stateful(Data):
        seen = 0

        def state_dict(self) -> dict[str, Any]:
            return {"seen": 7}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            self.seen = state_dict["seen"]

    run = trainer(max_epochs=1)
    run.fit(Counting(), datamodule=Stateful(size=2))
    run.save_checkpoint(tmp_path / "a.ckpt")
    assert inside.read(str(tmp_path / "a.ckpt"))["datamodule_hyper_parameters"] == {"size": 2}
    again = Stateful(size=2)
    trainer(max_epochs=2).fit(Counting(), datamodule=again, ckpt_path=str(tmp_path / "a.ckpt"))
    assert again.seen == 7


# on the way to the device


class Batch(NamedTuple):
    """A batch of one's own kind."""

    x: Any
    y: Any


class OwnBatch:
    """An object with tensors inside, that knows how to move."""

    def __init__(self, x: Any) -> None:
        self.x, self.moved = x, None

    def to(self, device: Any) -> "OwnBatch":
        self.moved = device
        return self


@pytest.mark.parametrize("owner", ["module", "data"])
@pytest.mark.parametrize("stage", ["fit", "predict"])
def test_transfer_hooks(owner: str, stage: str):
    """In their order, with the loader's number; each may give another batch."""
    calls: list[Any] = []

    class Hooks:
        def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            calls.append(("before", dataloader_idx))
            x, y = super().on_before_batch_transfer(batch, dataloader_idx)
            return Batch(x + 1, y)

        def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
            calls.append(("move", device.type))
            assert isinstance(batch, Batch)
            return super().transfer_batch_to_device(batch, device, dataloader_idx)

        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            calls.append(("after", dataloader_idx))
            return super().on_after_batch_transfer(batch._replace(x=batch.x * 2), dataloader_idx)

    class Seeing(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.seen = batch.x
            return self.loss(batch)

        def predict_step(self, batch: Any, batch_idx: int) -> Any:
            self.seen = batch.x

    class Source(pl.LightningDataModule):
        def train_dataloader(self) -> Any:
            return batches(1)

        predict_dataloader = train_dataloader

    model = type("Model", (Hooks, Seeing) if owner == "module" else (Seeing,), {})()
    data = type("Data", (Hooks, Source) if owner == "data" else (Source,), {})()
    getattr(trainer(max_epochs=1), stage)(model, datamodule=data)
    assert calls == [("before", 0), ("move", "cpu"), ("after", 0)]
    assert torch.equal(model.seen, (next(iter(batches(1)))[0] + 1) * 2)


def test_a_batch_with_a_move_of_its_own():
    class Model(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            assert isinstance(batch, OwnBatch)
            self.moved = batch.moved
            return self(batch.x).square().mean()

        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return batch

    model = Model()
    loader = DataLoader(TensorDataset(torch.ones(2, 4)), batch_size=2, collate_fn=lambda items: OwnBatch(items[0][0]))
    trainer(max_epochs=1).fit(model, loader)
    assert model.moved == torch.device("cpu")


def test_batches_of_any_structure_move():
    """Tuples, named tuples, dicts and lists, in double precision: every floating-point tensor in them."""

    class Model(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            assert batch["pair"].x.dtype == batch["list"][0].dtype == torch.float64
            assert batch["pair"].y.dtype == torch.int64
            assert batch["text"] == ["a", "b"]
            return self.loss((batch["pair"].x, batch["pair"].y))

    item = {"pair": Batch(torch.ones(4), torch.tensor(1)), "list": [torch.zeros(1)]}
    loader = DataLoader([{**item, "text": text} for text in "ab"], batch_size=2)
    trainer(max_epochs=1, precision=64).fit(Model(), loader)
