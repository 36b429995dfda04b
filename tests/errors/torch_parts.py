"""A small module and its loaders; what is wrong with them is the test's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

import functrain_torch as pl

X, Y = torch.randn(12, 4, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3


class Net(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1])
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Validated(Net):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1]))


def net(base: type[Net] = Net, **methods: Callable[..., Any]) -> Any:
    """A module with some methods replaced."""
    return type("Mine", (base,), methods)()


def loader(n: int = 12, **more: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(X[:n], Y[:n]), batch_size=4, **more)


def trainer(**flags: Any) -> pl.Trainer:
    quiet = {"logger": False, "progress_bar_refresh_rate": 0, "weights_summary": None, "max_epochs": 2,
             "log_every_n_steps": 1}  # fmt: skip
    if "callbacks" not in flags:
        quiet["checkpoint_callback"] = False
    return pl.Trainer(**{**quiet, **flags})


def fit(module: Any = None, train: Any = None, val: Any = None, **flags: Any) -> pl.Trainer:
    made = trainer(**flags)
    made.fit(net() if module is None else module, loader() if train is None else train, val)
    return made
