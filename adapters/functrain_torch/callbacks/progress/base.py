"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.callbacks import ProgressBarBase as ProgressBarBase

__all__ = [
    "ProgressBarBase",
]
