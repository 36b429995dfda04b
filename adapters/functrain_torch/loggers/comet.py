"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.loggers import CometLogger as CometLogger

__all__ = [
    "CometLogger",
]
