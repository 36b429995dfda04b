"""Where metrics, hyperparameters and graphs go. Imports a tracking library at the first write."""

from functrain.loggers.base import Logger, LoggerCollection
from functrain.loggers.comet import CometLogger
from functrain.loggers.csv import CSVLogger
from functrain.loggers.dummy import DummyExperiment, DummyLogger, rank_zero_experiment
from functrain.loggers.mlflow import MLFlowLogger
from functrain.loggers.neptune import NeptuneLogger
from functrain.loggers.tensorboard import TensorBoardLogger
from functrain.loggers.test_tube import TestTubeLogger
from functrain.loggers.wandb import WandbLogger

__all__ = [
    "CSVLogger",
    "CometLogger",
    "DummyExperiment",
    "DummyLogger",
    "Logger",
    "LoggerCollection",
    "MLFlowLogger",
    "NeptuneLogger",
    "TensorBoardLogger",
    "TestTubeLogger",
    "WandbLogger",
    "rank_zero_experiment",
]
