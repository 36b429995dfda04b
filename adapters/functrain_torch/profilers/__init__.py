"""functrain's profilers under this adapter's name, and that of torch's operators."""

from functrain.profilers import *  # noqa: F403
from functrain.profilers import __all__ as _neutral
from functrain.trainer.profiler_names import register
from functrain_torch.module_spans import ModuleSpans as RegisterRecordFunction
from functrain_torch.pytorch_profiler import PyTorchProfiler

__all__ = [*_neutral, "PyTorchProfiler", "RegisterRecordFunction"]  # pyright: ignore[reportUnsupportedDunderAll]

register("pytorch", PyTorchProfiler)
