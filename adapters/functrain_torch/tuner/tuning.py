"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.tuner import Tuner as Tuner

__all__ = [
    "Tuner",
]
