"""Hooks with `*args` that hand on to the method that they override: it gets the arguments that it takes, in the
signature of any generation."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import functrain_torch as pl


class Base(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.told: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(batch).square().mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
        self.told.append((epoch, batch_idx, type(optimizer).__name__, callable(optimizer_closure)))
        optimizer.step(closure=optimizer_closure)

    def on_train_epoch_end(self):
        self.told.append("epoch end")


class HandsOn(Base):
    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        return super().training_step(*args, **kwargs)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)

    def on_train_epoch_end(self, *args: Any) -> None:
        super().on_train_epoch_end(*args)


class Twice(HandsOn):
    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)


class ToOurs(Base):
    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        pl.LightningModule.optimizer_step(self, *args, **kwargs)


class Counts(pl.Callback):
    def __init__(self) -> None:
        self.told: list[Any] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.told.append(batch_idx)


class CountsOn(Counts):
    def on_train_batch_end(self, *args: Any) -> None:
        super().on_train_batch_end(*args)


def fitted(module: Base, *callbacks: pl.Callback) -> Base:
    quiet: Any = {"logger": False, "checkpoint_callback": False, "progress_bar_refresh_rate": 0}
    pl.Trainer(max_epochs=1, weights_summary=None, callbacks=list(callbacks), **quiet).fit(
        module, [torch.ones(1, 2)] * 2
    )
    return module


def test_the_method_above_gets_what_it_takes():
    wanted = [(0, 0, "SGD", True), (0, 1, "SGD", True), "epoch end"]
    for kind in (Base, HandsOn, Twice):
        assert fitted(kind()).told == wanted


def test_our_own_method_above_takes_all():
    torch.manual_seed(1)
    one = fitted(Base())
    torch.manual_seed(1)
    assert torch.equal(fitted(ToOurs()).layer.weight, one.layer.weight)


def test_of_callbacks_too():
    callback = CountsOn()
    fitted(Base(), callback)
    assert callback.told == [0, 1]
