"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain_torch.compat.devices import DDPStrategy as DDPStrategy
from functrain_torch.compat.devices import DeepSpeedStrategy as DeepSpeedStrategy
from functrain_torch.compat.devices import FSDPStrategy as FSDPStrategy
from functrain_torch.compat.devices import ParallelStrategy as ParallelStrategy
from functrain_torch.compat.devices import SingleDeviceStrategy as SingleDeviceStrategy
from functrain_torch.compat.devices import Strategy as Strategy

__all__ = [
    "DDPStrategy",
    "DeepSpeedStrategy",
    "FSDPStrategy",
    "ParallelStrategy",
    "SingleDeviceStrategy",
    "Strategy",
]
