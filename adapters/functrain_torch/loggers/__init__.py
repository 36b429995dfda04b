"""functrain's loggers under this adapter's name: `from functrain_torch.loggers import TensorBoardLogger`."""

from types import ModuleType

from functrain.loggers import *  # noqa: F403
from functrain.loggers import __all__ as __all__
from functrain_torch.compat import older


def __getattr__(name: str) -> ModuleType:
    """Import an older path where one is asked for."""
    return older("loggers", name)
