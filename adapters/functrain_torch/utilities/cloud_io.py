"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain_torch.compat.cloud_io import atomic_save as atomic_save
from functrain_torch.compat.cloud_io import get_filesystem as get_filesystem
from functrain_torch.compat.cloud_io import load as load

__all__ = [
    "atomic_save",
    "get_filesystem",
    "load",
]
