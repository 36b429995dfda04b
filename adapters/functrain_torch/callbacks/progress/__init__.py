"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.callbacks import ProgressBar as ProgressBar
from functrain.callbacks import ProgressBarBase as ProgressBarBase
from functrain.callbacks import RichProgressBar as RichProgressBar
from functrain.callbacks import TQDMProgressBar as TQDMProgressBar

__all__ = [
    "ProgressBar",
    "ProgressBarBase",
    "RichProgressBar",
    "TQDMProgressBar",
]
