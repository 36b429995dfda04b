"""A small regression for tuners: a module with noise, its data, and a Trainer that writes nothing."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

import functrain_torch as pl

QUIET: dict[str, Any] = {
    "logger": False, "checkpoint_callback": False, "progress_bar_refresh_rate": 0, "weights_summary": None,
}  # fmt: skip


def trainer(**flags: Any) -> pl.Trainer:
    return pl.Trainer(**{**QUIET, **flags})


def samples(n: int = 60) -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 3, generator=generator)
    return TensorDataset(x, x.sum(1, keepdim=True) + 0.1 * torch.randn(n, 1, generator=generator))


def loader(n: int = 60, size: int = 4, **options: Any) -> DataLoader[Any]:
    return DataLoader(samples(n), size, **options)


class Regression(pl.LightningModule):
    """Dropout and momentum, so that the global generator and the optimizer's state matter."""

    def __init__(self, lr: float = 0.05, batch_size: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(dropout), torch.nn.Linear(4, 1))
        self.lr, self.batch_size = lr, batch_size
        self.sizes: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.sizes.append(len(batch[0]))
        loss = (self(batch[0]) - batch[1]).square().mean()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]

    def train_dataloader(self) -> Any:
        return loader(size=self.batch_size, shuffle=True)
