"""Where the time of a run goes: profilers for `Trainer(profiler=...)`. Framework-neutral."""

from __future__ import annotations

from functrain.profilers.advanced import AdvancedProfiler
from functrain.profilers.simple import SimpleProfiler
from functrain.trainer.profiler import PassThroughProfiler, Profiler
from functrain.trainer.profiler_names import register

__all__ = ["AdvancedProfiler", "PassThroughProfiler", "Profiler", "SimpleProfiler"]

register("simple", SimpleProfiler)
register("advanced", AdvancedProfiler)
