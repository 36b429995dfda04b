"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain_torch.compat.devices import DDPPlugin as DDPPlugin
from functrain_torch.compat.devices import DeepSpeedPlugin as DeepSpeedPlugin

__all__ = [
    "DDPPlugin",
    "DeepSpeedPlugin",
]
