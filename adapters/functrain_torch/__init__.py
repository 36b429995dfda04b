"""functrain for torch: `import functrain_torch as pl`, then LightningModule, Trainer, callbacks.

Loggers as in the documents.
"""

from __future__ import annotations

from functrain.callbacks import Callback
from functrain.seed import seed_everything
from functrain.trainer.errors import CheckpointError, ConfigurationError, NotFiniteError
from functrain.trainer.functional import LossStep, Step
from functrain_torch import adapter, callbacks, loggers, rng, testing
from functrain_torch.backend import TorchBackend
from functrain_torch.datamodule import LightningDataModule
from functrain_torch.from_loss import make_step
from functrain_torch.module import LightningModule
from functrain_torch.pure import failing_batch, functional, load_state
from functrain_torch.trainer import Trainer

adapter.register()
rng.register()
testing.register()

__all__ = [
    "Callback",
    "CheckpointError",
    "ConfigurationError",
    "LightningDataModule",
    "LightningModule",
    "LossStep",
    "NotFiniteError",
    "Step",
    "TorchBackend",
    "Trainer",
    "callbacks",
    "failing_batch",
    "functional",
    "load_state",
    "loggers",
    "make_step",
    "seed_everything",
]
