"""The parts that run a torch module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from functrain.trainer.adapter import Adapter
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.run import Run
from functrain_torch.engine import TorchEngine
from functrain_torch.inspector import TorchInspector
from functrain_torch.io import TorchCheckpointIO
from functrain_torch.loaders import TorchLoaders

if TYPE_CHECKING:
    from functrain_torch.module import LightningModule


def make(module: LightningModule, run: Run) -> Adapter:
    """Return the adapter of one run of this module.

    Raises:
        ConfigurationError: its `__init__` did not call that of its base class.
    """
    if "_modules" not in module.__dict__:
        raise ConfigurationError(f"{type(module).__name__}.__init__ must call super().__init__() before anything else.")
    engine = TorchEngine(run, module)
    return Adapter(engine, TorchCheckpointIO(), TorchLoaders(), TorchInspector(engine))
