"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain_torch.profilers import SimpleProfiler as SimpleProfiler

__all__ = [
    "SimpleProfiler",
]
