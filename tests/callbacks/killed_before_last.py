"""Trains two epochs, each better than the one before, and is killed where its fourth checkpoint is about to be made:
the second 'last', after the second best. Gets the directory."""

import sys

import torch

import functrain_torch as pl
from functrain.callbacks import ModelCheckpoint
from tests.adapters.torch.small import QUIET
from tests.resume.kills import kill_at


class Better(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.ones(()))

    def training_step(self, batch, batch_idx):
        self.log("loss", self.w.detach() ** 2)
        return self.w**2

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(directory: str, epochs: int, ckpt_path: str | None = None) -> ModelCheckpoint:
    saver = ModelCheckpoint(directory, monitor="loss", save_last=True)
    run = pl.Trainer(**{**QUIET, "checkpoint_callback": True}, callbacks=[saver], max_epochs=epochs)
    run.fit(Better(), [torch.zeros(1)] * 2, ckpt_path=ckpt_path)
    return saver


if __name__ == "__main__":
    kill_at("opening", 4)
    fit(sys.argv[1], 2)
