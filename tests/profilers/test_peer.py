"""The same fit under pytorch-lightning's SimpleProfiler has as many epochs, steps, backward passes and validations."""

from __future__ import annotations

import logging
from typing import Any

import pytorch_lightning
import torch
from torch.utils.data import DataLoader, TensorDataset

import functrain_torch
from functrain.profilers import SimpleProfiler

# It talks of its devices at every run.
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)

THEIRS = {
    "run_training_epoch": "run_training_epoch",
    "training_step": "[Strategy]SingleDeviceStrategy.training_step",
    "backward": "[Strategy]SingleDeviceStrategy.backward",
    "validation_step": "[Strategy]SingleDeviceStrategy.validation_step",
    "Net.on_train_epoch_start": "[LightningModule]Net.on_train_epoch_start",
    "my own": "my own",
}


def counts(world: Any, profiler: Any) -> dict[str, int]:
    class Net(world.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(3, 1)

        def training_step(self, batch, batch_idx):
            with self.trainer.profiler.profile("my own"):
                return self.layer(batch[0]).square().mean()

        def validation_step(self, batch, batch_idx):
            self.layer(batch[0])

        def on_train_epoch_start(self):
            pass

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    loader = DataLoader(TensorDataset(torch.ones(8, 3)), batch_size=2)
    world.Trainer(
        profiler=profiler, max_epochs=2, limit_val_batches=3, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, accelerator="cpu", accumulate_grad_batches=2,
    ).fit(Net(), loader, loader)  # fmt: skip
    return {name: len(durations) for name, durations in profiler.recorded_durations.items()}


def test_as_many_of_each(recwarn):
    ours = counts(functrain_torch, SimpleProfiler())
    theirs = counts(pytorch_lightning, pytorch_lightning.profilers.SimpleProfiler())
    assert {name: ours[name] for name in THEIRS} == {name: theirs[their] for name, their in THEIRS.items()}
    assert (ours["training_step"], ours["optimizer_step"], ours["validation_step"]) == (8, 4, 8)
