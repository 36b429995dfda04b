"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.trainer.world import rank_zero_only as rank_zero_only
from functrain_torch.compat.deprecation import LightningDeprecationWarning as LightningDeprecationWarning
from functrain_torch.compat.deprecation import rank_zero_debug as rank_zero_debug
from functrain_torch.compat.deprecation import rank_zero_deprecation as rank_zero_deprecation
from functrain_torch.compat.deprecation import rank_zero_info as rank_zero_info
from functrain_torch.compat.deprecation import rank_zero_warn as rank_zero_warn

__all__ = [
    "LightningDeprecationWarning",
    "rank_zero_debug",
    "rank_zero_deprecation",
    "rank_zero_info",
    "rank_zero_only",
    "rank_zero_warn",
]
