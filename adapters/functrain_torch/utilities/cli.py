"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain_torch.cli import LightningArgumentParser as LightningArgumentParser
from functrain_torch.cli import LightningCLI as LightningCLI
from functrain_torch.cli import SaveConfigCallback as SaveConfigCallback

__all__ = [
    "LightningArgumentParser",
    "LightningCLI",
    "SaveConfigCallback",
]
