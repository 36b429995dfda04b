"""A model of one weight in both worlds, and a fit of it that logs into a directory of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

import functrain_jax as ft
import functrain_torch as pl
from functrain.data import ArrayLoader
from functrain.loggers import CSVLogger

X = np.arange(40, dtype=np.float32).reshape(10, 4) / 40


class Torch(pl.LightningModule):
    def __init__(self, lr: float = 0.1, **others: Any) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.w = torch.nn.Parameter(torch.zeros(4))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return (batch[0] @ self.w - 1).pow(2).mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


class Jax(ft.Module):
    def __init__(self, lr: float = 0.1, **others: Any) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.params = {"w": jnp.zeros(4)}

    def training_step(self, batch: Any, batch_idx: Any) -> Any:
        return ((batch[0] @ self.params["w"] - 1) ** 2).mean()

    def configure_optimizers(self) -> Any:
        return optax.sgd(self.hparams.lr)


WORLDS: dict[str, tuple[Any, Any]] = {"torch": (Torch, pl), "jax": (Jax, ft)}


class Items(Dataset[Any]):
    """Items that are drawn at random when they are read, and how often each was read."""

    def __init__(self) -> None:
        self.reads: list[int] = []

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> tuple[np.ndarray]:
        self.reads.append(index)
        return (X[index] + np.random.rand(4).astype(np.float32) + torch.rand(4).numpy(),)


def loader(world: str, x: np.ndarray = X, **options: Any) -> Any:
    """Batches of four, four and two."""
    if world == "jax":
        return ArrayLoader((x,), batch_size=4, **options)
    return DataLoader(TensorDataset(torch.from_numpy(x)), batch_size=4, **options)


def fit(world: str, folder: Path, batches: Any = None, continues: Any = None, **given: Any) -> Any:
    """A fit that logs into `folder/run`. Return its Trainer."""
    kind, package = WORLDS[world]
    flags: dict[str, Any] = {"logger": CSVLogger(folder, name="", version="run"), "max_epochs": 1, **given}
    hparams = flags.pop("hparams", {})
    flags = {"checkpoint_callback": False, "progress_bar_refresh_rate": 0, "weights_summary": None, **flags}
    trainer = package.Trainer(**flags)
    batches = loader(world) if batches is None else batches
    trainer.fit(kind(**hparams), batches, ckpt_path=continues)
    return trainer


def manifest(folder: Path, name: str = "manifest.json") -> dict[str, Any]:
    """What stands in the manifest."""
    return json.loads((folder / "run" / name).read_text(encoding="utf-8"))
