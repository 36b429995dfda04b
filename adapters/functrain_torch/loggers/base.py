"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.loggers import Logger as LightningLoggerBase
from functrain.loggers import LoggerCollection as LoggerCollection

__all__ = [
    "LightningLoggerBase",
    "LoggerCollection",
]
