"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain_torch.profilers import PassThroughProfiler as PassThroughProfiler
from functrain_torch.profilers import Profiler as AbstractProfiler
from functrain_torch.profilers import Profiler as BaseProfiler

__all__ = [
    "AbstractProfiler",
    "BaseProfiler",
    "PassThroughProfiler",
]
