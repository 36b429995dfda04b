"""The callbacks: pieces of a run that are not the model. Framework-neutral; heavy packages are imported when
used.
"""

from __future__ import annotations

from functrain.callbacks.accumulation import GradientAccumulationScheduler
from functrain.callbacks.checkpoint import ModelCheckpoint
from functrain.callbacks.device_stats_monitor import DeviceStatsMonitor
from functrain.callbacks.early_stopping import EarlyStopping
from functrain.callbacks.lambda_callback import LambdaCallback
from functrain.callbacks.lr_monitor import LearningRateMonitor
from functrain.callbacks.prediction_writer import BasePredictionWriter
from functrain.callbacks.progress import ProgressBar, ProgressBarBase, TQDMProgressBar
from functrain.callbacks.rich_progress import RichProgressBar, RichProgressBarTheme
from functrain.callbacks.rich_summary import RichModelSummary
from functrain.callbacks.state_digest import StateDigest
from functrain.callbacks.summary import ModelSummary
from functrain.callbacks.timer import Timer
from functrain.trainer.callback import Callback, Checkpoint, EarlyStop, Progress

__all__ = [
    "BasePredictionWriter",
    "Callback",
    "Checkpoint",
    "DeviceStatsMonitor",
    "EarlyStop",
    "EarlyStopping",
    "GradientAccumulationScheduler",
    "LambdaCallback",
    "LearningRateMonitor",
    "ModelCheckpoint",
    "ModelSummary",
    "Progress",
    "ProgressBar",
    "ProgressBarBase",
    "RichModelSummary",
    "RichProgressBar",
    "RichProgressBarTheme",
    "StateDigest",
    "TQDMProgressBar",
    "Timer",
]
