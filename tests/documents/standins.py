"""What the documents leave out, filled in small: modules, loaders, data, files.

A block's `model`, `net`, `MyLightningModule`, `Model`, `Net` or `LightningModule` is `Net`, which ends its fits by
itself after two epochs, since most blocks set no end; its `...` and its MNIST are `samples`, its loaders `loader()`.
By block:

- trainer 2, 8, 9; module 1, 4, 17, 21, 22, 25; overview 1; loops 19, 20; notes 10: Net, its loaders, a checkpoint of it
- trainer 4-7; notes 2: Net in a script, its command line and what it prints
- trainer 10-76; loops 1, 3-7, 11, 14-18; notes 22-54: Net, which counts its steps
- trainer 18, 19, 77-83; module 33-42; loops 12, 13; notes 6, 7, 19, 20, 55-58: Net with the step of the block
- trainer 50: addresses; 56: no meaning of 8 | 4 | 2; 62: a data set; 71, 72 and module 47, 49: `Sequences` and a loss
- module 2, 3, 5, 6: samples of MNIST's shape; 7, 9, 11, 13, 15, 18, 19, 23, 26-32: a layer as `model`, `decoder` and so
  on, predictions as `preds`; 44, 45: losses of a layer; 46: a layer as `generator`
- loops 2: `Sequences` of several lengths; 8, 9: arguments of the optimizers and schedulers
- notes 11-13: nothing but `forward`
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, TensorDataset

import functrain_torch as pl

BATCHES, EVALUATED = 12, 8
"""Batches of the training loader, and of every other."""


def samples(n: int, *shape: int) -> Dataset[Any]:
    """So many points in two classes, of 4 numbers each or of this shape."""
    x = torch.randn(n, *(shape or (4,)), generator=torch.Generator().manual_seed(0))
    return TensorDataset(x, (x.flatten(1).sum(1) > 0).long())


def loader(batches: int = BATCHES, size: int = 2, **options: Any) -> DataLoader[Any]:
    """A loader of so many batches."""
    return DataLoader(samples(batches * size), batch_size=size, **options)


class Net(pl.LightningModule):
    """A layer that brings its loaders, counts its steps and ends a fit after so many epochs.

    Attributes:
        count: how often each step was called, sanity checks left out.
        validated_after: the training steps before each validation step.
    """

    def __init__(self, epochs: int = 2, learning_rate: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters("epochs", "learning_rate")
        self.epochs = epochs
        self.layer = nn.Linear(4, 2)
        self.count: Counter[str] = Counter()
        self.validated_after: list[int] = []

    def forward(self, x: Any) -> Tensor:
        return self.layer(x[0] if isinstance(x, list) else x)

    def loss(self, batch: Any) -> Tensor:
        x, y = batch
        return functional.cross_entropy(self(x), y)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.count["train"] += 1
        return self.loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        if not self.trainer.sanity_checking:
            self.count["val"] += 1
            self.validated_after.append(self.count["train"])
        self.log("val_loss", self.loss(batch))

    def test_step(self, batch: Any, batch_idx: int) -> Any:
        self.count["test"] += 1
        self.log("test_loss", self.loss(batch))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.hparams.learning_rate)

    def on_train_epoch_end(self) -> None:
        if self.current_epoch + 1 >= self.epochs:
            self.trainer.should_stop = True

    def train_dataloader(self) -> Any:
        return loader()

    def val_dataloader(self) -> Any:
        return loader(EVALUATED)

    def test_dataloader(self) -> Any:
        return loader(EVALUATED)

    def predict_dataloader(self) -> Any:
        return loader(EVALUATED)


class OneStep(Net):
    """A module for blocks that are one training step: one epoch of three batches, no validation."""

    def __init__(self) -> None:
        super().__init__(epochs=1)

    def train_dataloader(self) -> Any:
        return loader(3)

    def val_dataloader(self) -> Any:
        return None


def fitted(trainer: pl.Trainer, model: Any = None) -> Any:
    """Fit a module, Net by default, and return it."""
    model = Net() if model is None else model
    trainer.fit(model)
    return model


def saved(model: pl.LightningModule, path: str = "net.ckpt") -> str:
    """Fit a module for one batch and return a checkpoint of it."""
    trainer = pl.Trainer(fast_dev_run=True)
    trainer.fit(model)
    trainer.save_checkpoint(path)
    return path
