"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain_torch.profilers import Profiler as Profiler

__all__ = [
    "Profiler",
]
