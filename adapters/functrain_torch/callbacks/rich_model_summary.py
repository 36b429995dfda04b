"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.callbacks import RichModelSummary as RichModelSummary

__all__ = [
    "RichModelSummary",
]
