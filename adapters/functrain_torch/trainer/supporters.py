"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.trainer.combined import CombinedLoader as CombinedLoader

__all__ = [
    "CombinedLoader",
]
