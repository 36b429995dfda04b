"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.callbacks import Checkpoint as Checkpoint

__all__ = [
    "Checkpoint",
]
