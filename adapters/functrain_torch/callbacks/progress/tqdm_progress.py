"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.callbacks import TQDMProgressBar as TQDMProgressBar

__all__ = [
    "TQDMProgressBar",
]
