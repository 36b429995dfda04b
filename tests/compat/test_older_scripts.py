"""Scripts of the generations before 2: what they import, the flags and hooks that they use; against loops by hand."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import functrain_torch as pl
from functrain_torch.callbacks.early_stopping import EarlyStopping
from functrain_torch.core.lightning import LightningModule
from functrain_torch.metrics.functional import accuracy
from functrain_torch.utilities.types import EPOCH_OUTPUT, STEP_OUTPUT

QUIET: Any = {"progress_bar_refresh_rate": 0, "weights_summary": None, "logger": False}


class Classifier(LightningModule):
    """Of the first generation: hyperparameters from a command line, means by hand."""

    def __init__(self, hparams: Any):
        super().__init__()
        self.hparams = hparams
        self.layer = nn.Linear(4, 2)

    @staticmethod
    def add_model_specific_args(parent_parser: ArgumentParser) -> ArgumentParser:
        parser = ArgumentParser(parents=[parent_parser], add_help=False)
        parser.add_argument("--learning_rate", type=float, default=0.02)
        return parser

    def forward(self, x):
        return self.layer(x)

    def training_step(self, batch, batch_nb) -> STEP_OUTPUT:
        x, y = batch
        if self.on_gpu:
            raise AssertionError
        loss = F.cross_entropy(self(x), y)
        self.log("train_loss", loss)
        return {"loss": loss, "right": (self(x).argmax(1) == y).float().mean().detach()}

    def training_epoch_end(self, outputs: EPOCH_OUTPUT) -> None:
        self.log("train_right", torch.stack([out["right"] for out in outputs]).mean())

    def validation_step(self, batch, batch_nb):
        x, y = batch
        return {"val_loss": F.cross_entropy(self(x), y), "n": len(x)}

    def validation_epoch_end(self, outputs):
        self.log("avg_val_loss", torch.stack([x["val_loss"] for x in outputs]).mean(), prog_bar=True)

    def test_step(self, batch, batch_nb):
        x, y = batch
        self.log("acc", accuracy(self(x).argmax(1), y))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.learning_rate)


def data() -> DataLoader[Any]:
    x = torch.randn(12, 4, generator=torch.Generator().manual_seed(3))
    return DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), 4)


def by_hand(net: nn.Module, epochs: int, rate: float) -> list[torch.Tensor]:
    optimizer = torch.optim.SGD(net.parameters(), rate)
    for _ in range(epochs):
        for x, y in data():
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
    return list(net.parameters())


def test_a_script_with_a_command_line_that_goes_on_later(tmp_path: Path):
    parser = ArgumentParser(add_help=False)
    pl.Trainer.add_argparse_args(parser)
    parser = Classifier.add_model_specific_args(parser)
    words = ["--max_epochs", "2", "--gpus", "0", "--learning_rate", "0.1", "--default_root_dir", str(tmp_path)]
    args = parser.parse_args(words)
    pl.seed_everything(0)
    model = Classifier(args)
    stopper = EarlyStopping("avg_val_loss")
    trainer = pl.Trainer.from_argparse_args(args, callbacks=[stopper], **QUIET)
    trainer.fit(model, train_dataloader=data(), val_dataloaders=data())
    pl.seed_everything(0)
    assert all(map(torch.equal, model.parameters(), by_hand(nn.Linear(4, 2), 2, 0.1)))
    assert set(trainer.callback_metrics) == {"train_loss", "train_right", "avg_val_loss"}
    assert list(trainer.progress_bar_dict) == ["avg_val_loss"]

    path = trainer.checkpoint_callback.best_model_path
    flags: Any = {"default_root_dir": tmp_path, "callbacks": [stopper], **QUIET}
    again = pl.Trainer(resume_from_checkpoint=path, max_epochs=4, **flags)
    longer = Classifier(args)
    again.fit(longer, data(), data())
    pl.seed_everything(0)
    assert all(map(torch.equal, longer.parameters(), by_hand(nn.Linear(4, 2), 4, 0.1)))
    (result,) = again.test(longer, test_dataloaders=data(), ckpt_path=None)
    right = torch.cat([longer(x).argmax(1) == y for x, y in data()]).float().mean()
    assert result == {"acc": pytest.approx(right.item())}


class Sequences(LightningModule):
    """Cut along time."""

    truncated_bptt_steps = 3

    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(2, 4, batch_first=True), nn.Linear(4, 1)

    def training_step(self, batch, batch_idx, hiddens):
        x, y = batch
        out, hiddens = self.lstm(x, hiddens)
        return {"loss": F.mse_loss(self.head(out), y), "hiddens": hiddens}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_script_that_cuts_its_batches_along_time(tmp_path: Path):
    draw = torch.Generator().manual_seed(1)
    pairs = TensorDataset(torch.randn(8, 9, 2, generator=draw), torch.randn(8, 9, 1, generator=draw))
    pl.seed_everything(0)
    net = Sequences()
    trainer = pl.Trainer(max_epochs=2, checkpoint_callback=False, default_root_dir=tmp_path, **QUIET)
    trainer.fit(net, DataLoader(pairs, 4))
    pl.seed_everything(0)
    other = Sequences()
    optimizer = torch.optim.SGD(other.parameters(), 0.1)
    for x, y in [*DataLoader(pairs, 4)] * 2:
        hiddens = None
        for start in range(0, 9, 3):
            out, hiddens = other.lstm(x[:, start : start + 3], hiddens)
            optimizer.zero_grad()
            F.mse_loss(other.head(out), y[:, start : start + 3]).backward()
            optimizer.step()
            hiddens = tuple(part.detach() for part in hiddens)
    assert all(map(torch.equal, net.parameters(), other.parameters()))
