"""Hooks of a fit have the Trainer ask for its loaders again."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

import functrain_torch as pl

QUIET = {"logger": False, "checkpoint_callback": False, "progress_bar_refresh_rate": 0, "weights_summary": None}


class Growing(pl.LightningModule):
    """Its data grow with every epoch that it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(()))
        self.told = ""
        self.n = 1

    def train_dataloader(self) -> Any:
        self.told += "T"
        return DataLoader(range(self.n))

    def val_dataloader(self) -> Any:
        self.told += "V"
        return DataLoader(range(self.n))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.told += f"{int(batch)}"
        return self.w * 1.0

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.told += "v"

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.trainer.reset_test_dataloader(self)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fitted(**hooks: Any) -> tuple[str, pl.Trainer]:
    module = type("Grown", (Growing,), hooks)()
    trainer = pl.Trainer(max_epochs=3, num_sanity_val_steps=0, **QUIET)
    trainer.fit(module)
    return module.told, trainer


def grown(reset: str, in_hook: str) -> str:
    def hook(self: Any, *args: Any) -> None:
        self.n += 1
        getattr(self.trainer, reset)(self)

    return fitted(**{in_hook: hook})[0]


def test_the_training_loader_is_another_one_from_the_next_epoch_on():
    assert fitted()[0] == "VT0v0v0v"
    assert grown("reset_train_dataloader", "on_train_epoch_end") == "VT0vT01vT012v"
    assert grown("reset_train_dataloader", "on_train_batch_end") == "VT0vT01vT0123v"
    assert grown("reset_train_dataloader", "on_train_epoch_start") == "VT0vT01vT012v"


def test_the_validation_loader_is_another_one_at_once():
    assert grown("reset_val_dataloader", "on_train_epoch_end") == "VT0vV0vvV0vvvV"
    assert grown("reset_val_dataloader", "on_train_batch_end") == "VT0Vvv0Vvvv0Vvvvv"
    assert grown("reset_train_val_dataloaders", "on_train_epoch_end") == "VT0vVT01vvVT012vvvV"


def test_what_the_trainer_tells_is_right():
    def hook(self: Any) -> None:
        self.n += 1
        self.trainer.reset_train_val_dataloaders()
        lengths.append((self.trainer.num_training_batches, self.trainer.num_val_batches))
        lengths.append((len(self.trainer.train_dataloader), [len(loader) for loader in self.trainer.val_dataloaders]))

    lengths: list[Any] = []
    fitted(on_train_epoch_end=hook)
    assert lengths == [(1, [2])] * 2 + [(2, [3])] * 2 + [(3, [4])] * 2


def test_before_there_are_loaders_there_is_nothing_to_ask_for_again():
    assert grown("reset_train_val_dataloaders", "on_fit_start") == "VT01vv01vv01vv"


def test_outside_of_a_fit_it_is_told():
    _, trainer = fitted()
    for name in ("train_dataloader", "val_dataloader", "train_val_dataloaders"):
        with pytest.raises(pl.ConfigurationError, match=r"no fit is under way, .*; call it in a hook of a fit"):
            getattr(trainer, f"reset_{name}")()
    trainer.reset_test_dataloader()
    trainer.reset_predict_dataloader()
    with pytest.raises(pl.ConfigurationError, match="the loaders of a test under way stay"):
        trainer.test(dataloaders=DataLoader(range(1)))

    def hook(self: Any) -> None:
        self.trainer.reset_val_dataloader(Growing())

    with pytest.raises(pl.ConfigurationError, match="this Growing is not the module of the fit"):
        fitted(on_train_epoch_end=hook)
