"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain_torch.profilers import PyTorchProfiler as PyTorchProfiler

__all__ = [
    "PyTorchProfiler",
]
