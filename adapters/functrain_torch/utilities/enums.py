"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain_torch.compat.enums import AMPType as AMPType
from functrain_torch.compat.enums import DeviceType as DeviceType
from functrain_torch.compat.enums import DistributedType as DistributedType
from functrain_torch.compat.enums import GradClipAlgorithmType as GradClipAlgorithmType
from functrain_torch.compat.enums import LightningEnum as LightningEnum
from functrain_torch.compat.enums import ModelSummaryMode as ModelSummaryMode
from functrain_torch.compat.enums import PrecisionType as PrecisionType

__all__ = [
    "AMPType",
    "DeviceType",
    "DistributedType",
    "GradClipAlgorithmType",
    "LightningEnum",
    "ModelSummaryMode",
    "PrecisionType",
]
