"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.callbacks import EarlyStopping as EarlyStopping

__all__ = [
    "EarlyStopping",
]
