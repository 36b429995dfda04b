"""functrain's profilers under this adapter's name, and those of JAX's own traces."""

from functrain.profilers import *  # noqa: F403
from functrain.profilers import __all__ as _neutral
from functrain_jax.jax_profiler import JAXProfiler, XLAProfiler

__all__ = [*_neutral, "JAXProfiler", "XLAProfiler"]  # pyright: ignore[reportUnsupportedDunderAll]
