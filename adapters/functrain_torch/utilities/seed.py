"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.seed import isolate_rng as isolate_rng
from functrain.seed import seed_everything as seed_everything

__all__ = [
    "isolate_rng",
    "seed_everything",
]
