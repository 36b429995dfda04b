"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain_torch.compat.devices import DDPStrategy as DDPStrategy

__all__ = [
    "DDPStrategy",
]
