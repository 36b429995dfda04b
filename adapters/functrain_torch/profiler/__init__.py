"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain_torch.profilers import AdvancedProfiler as AdvancedProfiler
from functrain_torch.profilers import PassThroughProfiler as PassThroughProfiler
from functrain_torch.profilers import Profiler as AbstractProfiler
from functrain_torch.profilers import Profiler as BaseProfiler
from functrain_torch.profilers import Profiler as Profiler
from functrain_torch.profilers import PyTorchProfiler as PyTorchProfiler
from functrain_torch.profilers import SimpleProfiler as SimpleProfiler

__all__ = [
    "AbstractProfiler",
    "AdvancedProfiler",
    "BaseProfiler",
    "PassThroughProfiler",
    "Profiler",
    "PyTorchProfiler",
    "SimpleProfiler",
]
