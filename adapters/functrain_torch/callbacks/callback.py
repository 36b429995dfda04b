"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.callbacks import Callback as Callback

__all__ = [
    "Callback",
]
