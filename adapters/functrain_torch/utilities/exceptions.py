"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain_torch.compat.exceptions import DeadlockDetectedException as DeadlockDetectedException
from functrain_torch.compat.exceptions import ExitGracefullyException as ExitGracefullyException
from functrain_torch.compat.exceptions import MisconfigurationException as MisconfigurationException

__all__ = [
    "DeadlockDetectedException",
    "ExitGracefullyException",
    "MisconfigurationException",
]
