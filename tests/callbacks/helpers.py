"""A module whose metrics are written in the test, and how to run it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import DataLoader

import functrain_torch as pl

BATCHES = 4


class Scripted(pl.LightningModule):
    """One weight. `script(global_step)` is what the validation logs as `metric`; None logs nothing."""

    def __init__(self, script: Callable[[int], float | None] | None = None, metric: str = "val_loss") -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.script = script
        self.metric = metric

    def training_step(self, batch, batch_idx):
        loss = (self.weight * batch).mean()
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        value = self.script(self.trainer.global_step) if self.script is not None else None
        if value is not None:
            self.log(self.metric, value, prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Unvalidated(Scripted):
    """The same, without validation."""

    validation_step = pl.LightningModule.validation_step


def batches(n: int = BATCHES) -> DataLoader:
    return DataLoader(torch.arange(1.0, n + 1).reshape(n, 1), batch_size=1)


def by_epoch(*values: float) -> Callable[[int], float]:
    """A script: one value for each epoch of BATCHES updates."""
    return lambda step: values[(step - 1) // BATCHES] if step else values[0]


def fit(trainer: pl.Trainer, module: Any, n: int = BATCHES, **more: Any) -> pl.Trainer:
    loader = batches(1) if type(module).validation_step is not pl.LightningModule.validation_step else None
    trainer.fit(module, batches(n), loader, **more)
    return trainer


def names(directory: Any) -> list[str]:
    return sorted(os.listdir(directory)) if os.path.isdir(directory) else []
