"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain_torch.callbacks import StochasticWeightAveraging as StochasticWeightAveraging

__all__ = [
    "StochasticWeightAveraging",
]
