"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.seed import seed_everything as seed_everything
from functrain_torch.compat.trainer import Trainer as Trainer

__all__ = [
    "Trainer",
    "seed_everything",
]
