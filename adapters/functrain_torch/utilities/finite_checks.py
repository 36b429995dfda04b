"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain_torch.compat.memory import detect_nan_parameters as detect_nan_parameters
from functrain_torch.compat.memory import print_nan_gradients as print_nan_gradients

__all__ = [
    "detect_nan_parameters",
    "print_nan_gradients",
]
