"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain_torch.profilers import AdvancedProfiler as AdvancedProfiler

__all__ = [
    "AdvancedProfiler",
]
