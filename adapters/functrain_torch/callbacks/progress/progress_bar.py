"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.callbacks import ProgressBar as ProgressBar

__all__ = [
    "ProgressBar",
]
