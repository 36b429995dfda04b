"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.loggers import DummyLogger as DummyLogger
from functrain.loggers import Logger as Logger
from functrain.loggers import LoggerCollection as LoggerCollection
from functrain.loggers import rank_zero_experiment as rank_zero_experiment

__all__ = [
    "DummyLogger",
    "Logger",
    "LoggerCollection",
    "rank_zero_experiment",
]
