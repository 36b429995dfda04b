"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.callbacks.timer import Interval as Interval
from functrain.callbacks.timer import Timer as Timer

__all__ = [
    "Interval",
    "Timer",
]
