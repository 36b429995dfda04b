"""A fit that spends its time in loading says so once, where worker processes could help; no other fit does."""

from __future__ import annotations

import os
import time
import warnings
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import functrain_torch as pl
from functrain.trainer import waiting


class Slow(Dataset[Any]):
    """Reading a sample takes its time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> torch.Tensor:
        time.sleep(self.seconds)
        return torch.zeros(1)


class Line(pl.LightningModule):
    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.w = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        time.sleep(self.seconds)
        return self.w.sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def _soon(monkeypatch):
    monkeypatch.setattr(waiting, "SECONDS", 0.1)


def fit(loader: Any, step_seconds: float = 0.002) -> None:
    quiet = {"logger": False, "checkpoint_callback": False, "weights_summary": None, "progress_bar_refresh_rate": 0}
    pl.Trainer(max_epochs=3, **quiet).fit(Line(step_seconds), loader)


def on(cores: int, monkeypatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)


@pytest.mark.usefixtures("_soon")
def test_a_slow_data_set_is_told_once(monkeypatch):
    on(8, monkeypatch)
    with pytest.warns(UserWarning, match=r"train_dataloader does not have many workers .*num_workers=7 may be") as told:
        fit(DataLoader(Slow(0.01)))
    assert len(told) == 1
    with pytest.warns(UserWarning, match=r"train_dataloader\['a'\] does not have many workers"):
        fit({"a": DataLoader(Slow(0.01)), "b": [torch.zeros(1)] * 3})


@pytest.mark.usefixtures("_soon")
def test_where_workers_would_not_help_nothing_is_said(monkeypatch):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*does not have many workers")  # a fork has warnings of its own
        on(8, monkeypatch)
        fit(DataLoader(Slow(0.0)), step_seconds=0.02)  # in memory
        fit(DataLoader(Slow(0.01), num_workers=2))
        on(1, monkeypatch)
        fit(DataLoader(Slow(0.01)))


def test_a_short_fit_is_not_judged(monkeypatch):
    on(8, monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(DataLoader(Slow(0.01)))
