"""The parts that run a torch module."""

from __future__ import annotations

from functools import partial
from typing import Any

from functrain.trainer import adapters
from functrain.trainer.adapter import Adapter
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.flags import Flags
from functrain.trainer.run import Run
from functrain_torch.aside import set_aside
from functrain_torch.digester import TorchDigester
from functrain_torch.engine import TorchEngine
from functrain_torch.inspector import TorchInspector
from functrain_torch.io import TorchCheckpointIO
from functrain_torch.lightning_checkpoints import LightningCheckpoints
from functrain_torch.loaders import TorchLoaders
from functrain_torch.module import LightningModule
from functrain_torch.sweep import sweep


def make(module: LightningModule, run: Run) -> Adapter:
    """Return the adapter of one run of this module.

    Raises:
        ConfigurationError: its `__init__` did not call that of its base class.
    """
    if "_modules" not in module.__dict__:
        raise ConfigurationError(f"{type(module).__name__}.__init__ must call super().__init__() before anything else.")
    engine = TorchEngine(run, module)
    return Adapter(
        engine, TorchCheckpointIO(), TorchLoaders(), TorchInspector(engine),
        aside=partial(set_aside, module), digester=TorchDigester(engine),
        sweep=partial(sweep, module, run.flags), others=LightningCheckpoints(engine),
    )  # fmt: skip


def runs(module: Any, flags: Flags) -> bool:
    """Return whether it is a module of torch."""
    return isinstance(module, LightningModule)


def register() -> None:
    """Have the modules of torch be run by these parts."""
    adapters.register(runs, make)
