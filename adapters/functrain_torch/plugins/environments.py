"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain_torch.compat.devices import ClusterEnvironment as ClusterEnvironment
from functrain_torch.compat.devices import LightningEnvironment as LightningEnvironment
from functrain_torch.compat.devices import SLURMEnvironment as SLURMEnvironment
from functrain_torch.compat.devices import TorchElasticEnvironment as TorchElasticEnvironment

__all__ = [
    "ClusterEnvironment",
    "LightningEnvironment",
    "SLURMEnvironment",
    "TorchElasticEnvironment",
]
