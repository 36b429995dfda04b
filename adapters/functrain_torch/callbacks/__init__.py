"""functrain's callbacks under this adapter's name: `from functrain_torch.callbacks import ModelCheckpoint`."""

from types import ModuleType

from functrain import callbacks as neutral
from functrain.callbacks import *  # noqa: F403
from functrain_torch.compat import older
from functrain_torch.compat.callbacks import LearningRateLogger

__all__ = ["LearningRateLogger"]
__all__ += neutral.__all__


def __getattr__(name: str) -> ModuleType:
    """Import an older path where one is asked for."""
    return older("callbacks", name)
