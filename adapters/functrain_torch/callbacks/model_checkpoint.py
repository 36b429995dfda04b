"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.callbacks import ModelCheckpoint as ModelCheckpoint

__all__ = [
    "ModelCheckpoint",
]
