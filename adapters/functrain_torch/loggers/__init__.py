"""functrain's loggers under this adapter's name: `from functrain_torch.loggers import TensorBoardLogger`."""

from types import ModuleType

from functrain import loggers as neutral
from functrain.loggers import *  # noqa: F403
from functrain_torch.compat import older
from functrain_torch.compat.loggers import LightningLoggerBase

__all__ = ["LightningLoggerBase"]
__all__ += neutral.__all__


def __getattr__(name: str) -> ModuleType:
    """Import an older path where one is asked for."""
    return older("loggers", name)
