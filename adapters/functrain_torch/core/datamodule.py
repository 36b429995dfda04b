"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain_torch.datamodule import LightningDataModule as LightningDataModule

__all__ = [
    "LightningDataModule",
]
