"""Callbacks by their older names."""

from __future__ import annotations

import warnings

from functrain.callbacks import LearningRateMonitor
from functrain.trainer.errors import OlderNameWarning


class LearningRateLogger(LearningRateMonitor):
    """The older name of LearningRateMonitor."""

    def __init__(self, logging_interval: str | None = None, log_momentum: bool = False) -> None:
        warnings.warn(
            "LearningRateLogger is the older name of 'LearningRateMonitor': use that.",
            OlderNameWarning,
            stacklevel=2,
        )
        super().__init__(logging_interval, log_momentum)
