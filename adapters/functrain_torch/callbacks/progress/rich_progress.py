"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.callbacks import RichProgressBar as RichProgressBar

__all__ = [
    "RichProgressBar",
]
