"""A small fit for the loggers of tracking libraries."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

import functrain_torch as pl


class Net(pl.LightningModule):
    """Logs one value in each stage."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(width, 1)

    def loss(self, batch: Any) -> Any:
        return self.layer(batch[0]).square().mean()

    def training_step(self, batch: Any) -> Any:
        loss = self.loss(batch)
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Any) -> None:
        self.log("val", self.loss(batch))

    def test_step(self, batch: Any) -> None:
        self.log("test", self.loss(batch))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def batches(n: int) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.ones(2 * n, 3)), batch_size=2)


def fitted(logger: Any, *callbacks: Any, **flags: Any) -> tuple[pl.Trainer, Net]:
    """Two epochs of four updates, the second and fourth of which are logged; a validation after each."""
    trainer = pl.Trainer(
        logger=logger, max_epochs=2, progress_bar_refresh_rate=0, weights_summary=None, log_every_n_steps=2,
        num_sanity_val_steps=0, checkpoint_callback=bool(callbacks), callbacks=list(callbacks), **flags,
    )  # fmt: skip
    net = Net()
    trainer.fit(net, batches(4), batches(2))
    return trainer, net
