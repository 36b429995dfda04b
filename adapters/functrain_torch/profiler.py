"""The profilers by the older name of their module: `from functrain_torch.profiler import SimpleProfiler`."""

from functrain_torch.profilers import *  # noqa: F403
from functrain_torch.profilers import Profiler
from functrain_torch.profilers import __all__ as _names

BaseProfiler = AbstractProfiler = Profiler

__all__ = [*_names, "AbstractProfiler", "BaseProfiler"]  # pyright: ignore[reportUnsupportedDunderAll]
