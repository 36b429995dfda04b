"""functrain for torch: `import functrain_torch as pl`, then LightningModule, Trainer, callbacks.

Loggers as in the documents.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from functrain.callbacks import Callback
from functrain.seed import seed_everything
from functrain.trainer.combined import CombinedLoader
from functrain.trainer.errors import CheckpointError, ConfigurationError, NotFiniteError
from functrain.trainer.functional import LossStep, Step
from functrain.version import __version__
from functrain_torch import adapter, callbacks, loggers, profilers, rng, testing
from functrain_torch.backend import TorchBackend
from functrain_torch.compat import older
from functrain_torch.compat.trainer import Trainer
from functrain_torch.datamodule import LightningDataModule
from functrain_torch.from_loss import make_step
from functrain_torch.module import LightningModule
from functrain_torch.pure import failing_batch, functional, load_state

if TYPE_CHECKING:
    from functrain_torch import cli as cli
    from functrain_torch import core as core
    from functrain_torch import metrics as metrics
    from functrain_torch import trainer as trainer
    from functrain_torch import tuner as tuner
    from functrain_torch import utilities as utilities

adapter.register()
rng.register()
testing.register()

__all__ = [
    "Callback",
    "CheckpointError",
    "CombinedLoader",
    "ConfigurationError",
    "LightningDataModule",
    "LightningModule",
    "LossStep",
    "NotFiniteError",
    "Step",
    "TorchBackend",
    "Trainer",
    "__version__",
    "callbacks",
    "failing_batch",
    "functional",
    "load_state",
    "loggers",
    "make_step",
    "profilers",
    "seed_everything",
    "tuner",
]

_LAZY = ("cli", "metrics", "tuner")
"""Modules that import what few scripts need; they are loaded when they are first used."""


def __getattr__(name: str) -> Any:
    """Import a module that few need, or a package of older names, where one is asked for."""
    return import_module(f"functrain_torch.{name}") if name in _LAZY else older("", name)
