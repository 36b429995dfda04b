"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.loggers import WandbLogger as WandbLogger

__all__ = [
    "WandbLogger",
]
