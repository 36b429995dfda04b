"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain_torch.compat.boring import BoringDataModule as BoringDataModule
from functrain_torch.compat.boring import BoringModel as BoringModel
from functrain_torch.compat.boring import DemoModel as DemoModel
from functrain_torch.compat.boring import ManualOptimBoringModel as ManualOptimBoringModel
from functrain_torch.compat.boring import RandomDataset as RandomDataset
from functrain_torch.compat.boring import RandomDictDataset as RandomDictDataset
from functrain_torch.compat.boring import RandomIterableDataset as RandomIterableDataset

__all__ = [
    "BoringDataModule",
    "BoringModel",
    "DemoModel",
    "ManualOptimBoringModel",
    "RandomDataset",
    "RandomDictDataset",
    "RandomIterableDataset",
]
