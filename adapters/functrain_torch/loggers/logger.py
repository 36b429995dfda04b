"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.loggers import Logger as Logger

__all__ = [
    "Logger",
]
