"""Small data, a small model, a Trainer that writes nothing, and a hand-written loop's means of comparison."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import functrain_torch as pl
from functrain.trainer.overriding import overrides

# Where JAX was imported too, it warns of any fork; torch's workers use no JAX.
forks = pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called:RuntimeWarning")

QUIET = {"logger": False, "checkpoint_callback": False, "progress_bar_refresh_rate": 0, "weights_summary": None}


def samples(n: int, seed: int = 0) -> TensorDataset:
    """So many points of 4 numbers, in two classes."""
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, (x.sum(1) > 0).long())


def batches(n: int, size: int = 4, extra: int = 0, **options: Any) -> DataLoader[Any]:
    """A loader of n batches; with `extra`, one more of so many samples."""
    return DataLoader(samples(n * size + extra), batch_size=size, **options)


class Stream(IterableDataset[Any]):
    """The samples one after another, their number unknown before."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __iter__(self) -> Iterator[Any]:
        return iter(samples(self.n))


def stream(n: int, size: int = 4, extra: int = 0) -> DataLoader[Any]:
    """As `batches`, of a loader without a length."""
    return DataLoader(Stream(n * size + extra), batch_size=size)


class Net(pl.LightningModule):
    """Two layers with dropout between."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        hidden = [torch.nn.Tanh(), torch.nn.Dropout(dropout)]
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 8), *hidden, torch.nn.Linear(8, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def loss(self, batch: Any) -> Tensor:
        x, y = batch
        return functional.cross_entropy(self(x), y)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.loss(batch)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def validation(model: pl.LightningModule, loader: Any) -> Any:
    """The loader, where the model has a use for it."""
    return loader if overrides(model, "validation_step") else None


class Validated(Net):
    """The same with a validation and a test step that log their loss."""

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("val_loss", self.loss(batch))

    def test_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("test_loss", self.loss(batch))


def trainer(**flags: Any) -> pl.Trainer:
    """A Trainer that writes nothing and shows nothing."""
    return pl.Trainer(**{**QUIET, **flags})


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    """Have two modules the very same bits?"""
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
