"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.callbacks import LearningRateMonitor as LearningRateMonitor

__all__ = [
    "LearningRateMonitor",
]
