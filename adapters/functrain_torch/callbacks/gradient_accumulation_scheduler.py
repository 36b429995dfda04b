"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.callbacks import GradientAccumulationScheduler as GradientAccumulationScheduler

__all__ = [
    "GradientAccumulationScheduler",
]
