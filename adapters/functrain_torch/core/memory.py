"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain_torch.compat.model_summary import ModelSummary as ModelSummary
from functrain_torch.compat.model_summary import summarize as summarize

__all__ = [
    "ModelSummary",
    "summarize",
]
