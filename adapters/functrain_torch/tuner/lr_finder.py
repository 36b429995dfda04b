"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.tuner import LRFinder as _LRFinder

__all__ = [
    "_LRFinder",
]
