"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain_torch.datamodule import LightningDataModule as LightningDataModule
from functrain_torch.module import LightningModule as LightningModule

__all__ = [
    "LightningDataModule",
    "LightningModule",
]
