"""Where metrics, hyperparameters and graphs go. Imports a tracking library at the first write."""

from functrain.loggers.base import Logger, LoggerCollection
from functrain.loggers.csv import CSVLogger
from functrain.loggers.tensorboard import TensorBoardLogger

__all__ = ["CSVLogger", "Logger", "LoggerCollection", "TensorBoardLogger"]
