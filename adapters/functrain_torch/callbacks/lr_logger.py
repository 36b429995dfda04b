"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain_torch.compat.callbacks import LearningRateLogger as LearningRateLogger

__all__ = [
    "LearningRateLogger",
]
