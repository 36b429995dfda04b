"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.loggers import DummyLogger as DummyLogger
from functrain.loggers import LoggerCollection as LoggerCollection
from functrain.loggers import rank_zero_experiment as rank_zero_experiment
from functrain_torch.compat.loggers import LightningLoggerBase as LightningLoggerBase

__all__ = [
    "DummyLogger",
    "LightningLoggerBase",
    "LoggerCollection",
    "rank_zero_experiment",
]
