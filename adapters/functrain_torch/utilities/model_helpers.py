"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain_torch.compat.model_helpers import is_overridden as is_overridden

__all__ = [
    "is_overridden",
]
