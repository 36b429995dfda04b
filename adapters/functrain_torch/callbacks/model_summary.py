"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.callbacks import ModelSummary as ModelSummary

__all__ = [
    "ModelSummary",
]
