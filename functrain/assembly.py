"""The composition root: hands the Trainer its default callbacks and loggers, which it must not import itself."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from typing import Any

import functrain.profilers  # noqa: F401  those that the flag names
from functrain.callbacks.defaults import default_callbacks, default_loggers
from functrain.loggers import CSVLogger, TensorBoardLogger
from functrain.trainer import trainer as core
from functrain.trainer.callback import Callback
from functrain.trainer.foreign import RunLogger

LOGS = "lightning_logs"


def standard_logger(trainer: Any) -> Any:
    """TensorBoard in `default_root_dir`; CSV files, with a warning, where tensorboardX is not installed."""
    if find_spec("tensorboardX") is None:
        warnings.warn(
            "tensorboardX is not installed, so metrics go to CSV files; install it (pip install "
            "tensorboardX), or give Trainer(logger=CSVLogger(...)).",
            UserWarning,
            stacklevel=2,
        )
        return CSVLogger(trainer.default_root_dir, name=LOGS)
    return TensorBoardLogger(trainer.default_root_dir, name=LOGS)


def default_callbacks_and_loggers(trainer: Any) -> tuple[list[Callback], list[RunLogger]]:
    """Callbacks and loggers of a Trainer, from its flags."""
    return default_callbacks(trainer), default_loggers(trainer, standard_logger)


class Trainer(core.Trainer):
    """The Trainer with its default callbacks and loggers."""

    def defaults(self) -> tuple[list[Callback], list[RunLogger]]:
        """Return the callbacks and loggers that the flags ask for."""
        return default_callbacks_and_loggers(self)


__all__ = ["Trainer", "default_callbacks_and_loggers", "standard_logger"]
