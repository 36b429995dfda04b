"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain_torch.manual import HandledOptimizer as LightningOptimizer

__all__ = [
    "LightningOptimizer",
]
