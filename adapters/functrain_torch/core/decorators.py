"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain_torch.compat.model_helpers import auto_move_data as auto_move_data

__all__ = [
    "auto_move_data",
]
