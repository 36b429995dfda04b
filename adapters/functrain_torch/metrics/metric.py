"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain_torch.metrics import Metric as Metric

__all__ = [
    "Metric",
]
