"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.trainer.world import rank_zero_only as rank_zero_only
from functrain_torch.compat.apply_func import TransferableDataType as TransferableDataType
from functrain_torch.compat.apply_func import apply_to_collection as apply_to_collection
from functrain_torch.compat.apply_func import apply_to_collections as apply_to_collections
from functrain_torch.compat.apply_func import convert_to_tensors as convert_to_tensors
from functrain_torch.compat.apply_func import from_numpy as from_numpy
from functrain_torch.compat.apply_func import move_data_to_device as move_data_to_device
from functrain_torch.compat.apply_func import to_dtype_tensor as to_dtype_tensor
from functrain_torch.compat.deprecation import LightningDeprecationWarning as LightningDeprecationWarning
from functrain_torch.compat.deprecation import rank_zero_debug as rank_zero_debug
from functrain_torch.compat.deprecation import rank_zero_deprecation as rank_zero_deprecation
from functrain_torch.compat.deprecation import rank_zero_info as rank_zero_info
from functrain_torch.compat.deprecation import rank_zero_warn as rank_zero_warn
from functrain_torch.compat.enums import AMPType as AMPType
from functrain_torch.compat.enums import DeviceType as DeviceType
from functrain_torch.compat.enums import DistributedType as DistributedType
from functrain_torch.compat.enums import GradClipAlgorithmType as GradClipAlgorithmType
from functrain_torch.compat.enums import LightningEnum as LightningEnum
from functrain_torch.compat.enums import ModelSummaryMode as ModelSummaryMode
from functrain_torch.compat.enums import PrecisionType as PrecisionType
from functrain_torch.compat.grads import grad_norm as grad_norm
from functrain_torch.compat.parsing import AttributeDict as AttributeDict

__all__ = [
    "AMPType",
    "AttributeDict",
    "DeviceType",
    "DistributedType",
    "GradClipAlgorithmType",
    "LightningDeprecationWarning",
    "LightningEnum",
    "ModelSummaryMode",
    "PrecisionType",
    "TransferableDataType",
    "apply_to_collection",
    "apply_to_collections",
    "convert_to_tensors",
    "from_numpy",
    "grad_norm",
    "move_data_to_device",
    "rank_zero_debug",
    "rank_zero_deprecation",
    "rank_zero_info",
    "rank_zero_only",
    "rank_zero_warn",
    "to_dtype_tensor",
]
