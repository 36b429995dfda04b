"""The small runs in torch whose hooks the golden files tell. A golden file is recorded anew, where a change of order
is meant, by `python -m tests.golden.torch_run`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

import functrain_torch as pl
from tests import inside
from tests.golden.events import BATCHES, recorded_run
from tests.golden.recorder import DATA, HERE, recorded, recording_callback


class Model(pl.LightningModule):
    """One layer; defines each step and loader."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)

    def loss(self, batch: Any) -> torch.Tensor:
        (x,) = batch
        return self(x).square().mean()

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.loss(batch)

    def training_step_end(self, outputs: Any) -> Any:
        return outputs

    def validation_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.loss(batch)

    def validation_step_end(self, outputs: Any) -> Any:
        return outputs

    def test_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.loss(batch)

    def test_step_end(self, outputs: Any) -> Any:
        return outputs

    def predict_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self(batch[0])

    def train_dataloader(self) -> Any:
        return loader(3)

    def val_dataloader(self) -> Any:
        return loader(2)

    def test_dataloader(self) -> Any:
        return loader(2)

    def predict_dataloader(self) -> Any:
        return loader(1)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)]


class Data(pl.LightningDataModule):
    """The same loaders."""

    def train_dataloader(self) -> Any:
        return loader(3)

    def val_dataloader(self) -> Any:
        return loader(2)

    def test_dataloader(self) -> Any:
        return loader(2)

    def predict_dataloader(self) -> Any:
        return loader(1)


class Logging(Model):
    """Logs its losses."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = self.loss(batch)
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))


def loader(batches: int) -> Any:
    """So many batches of two points."""
    return DataLoader(TensorDataset(torch.ones(2 * batches, 2)), batch_size=2)


def trainer(lines: list[str] | None = None, **flags: Any) -> pl.Trainer:
    """A Trainer without bars, loggers and files of its own, with a callback that records."""
    quiet = {"logger": False, "checkpoint_callback": False, "progress_bar_refresh_rate": 0, "weights_summary": None}
    return pl.Trainer(callbacks=None if lines is None else recording_callback(lines), **quiet, **flags)


def fit_and_test() -> list[str]:
    """Two epochs of three training and two validation batches, two batches an update, then the test."""
    lines = ["# fit"]
    model = recorded(Model, lines)()
    run = trainer(lines, max_epochs=2, accumulate_grad_batches=2)
    run.fit(model)
    lines.append("# test")
    run.test(model)
    return lines


def the_rest() -> list[str]:
    """The hooks that a fit and a test do not call: around checkpoints, validation, prediction, errors."""
    lines: list[str] = []
    short = {"max_epochs": 1, "limit_train_batches": 1, "num_sanity_val_steps": 0, "limit_val_batches": 0}
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "a.ckpt"))
        run = trainer(lines, **short)
        run.fit(recorded(Model, [])())
        lines[:] = ["# save_checkpoint"]
        model = recorded(Model, lines)()
        inside.put_in(run, model)
        run.save_checkpoint(path)
        lines.append("# fit(ckpt_path=...), nothing left to train")
        run = trainer(lines, **short)
        run.fit(model, ckpt_path=path)
    lines.append("# validate")
    trainer(lines, limit_val_batches=1).validate(model, verbose=False)
    lines.append("# predict")
    trainer(lines).predict(model)
    return lines


def ending(error: BaseException) -> list[str]:
    """A fit that ends with an error in its first training step."""

    class Failing(Model):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            raise error

    lines: list[str] = []
    model = recorded(Failing, lines)()
    run = trainer(lines, max_epochs=1, limit_val_batches=0)
    try:
        run.fit(model)
    except type(error):
        lines.append("raised")
    return lines


def with_data_module() -> list[str]:
    """What a data module is asked, from a fit to a prediction."""
    lines = ["# fit"]
    data = recorded(Data, lines, DATA)()
    run = trainer(max_epochs=1)
    run.fit(Model(), datamodule=data)
    for stage in ("test", "predict"):
        lines.append(f"# {stage}")
        getattr(run, stage)(datamodule=data)
    return lines


def trainer_events() -> list[str]:
    """The Trainer's own events of a fit."""
    return recorded_run(Logging(), loader(BATCHES), loader(1), pl.Trainer)


RUNS: dict[str, Callable[[], list[str]]] = {
    "fit_and_test": fit_and_test,
    "the_rest": the_rest,
    "data_module": with_data_module,
    "events": trainer_events,
}

if __name__ == "__main__":
    for name in sys.argv[1:] or RUNS:
        (HERE / f"{name}.txt").write_text("\n".join(RUNS[name]()) + "\n", encoding="utf-8")
