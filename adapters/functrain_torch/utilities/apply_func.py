"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain_torch.compat.apply_func import TransferableDataType as TransferableDataType
from functrain_torch.compat.apply_func import apply_to_collection as apply_to_collection
from functrain_torch.compat.apply_func import apply_to_collections as apply_to_collections
from functrain_torch.compat.apply_func import convert_to_tensors as convert_to_tensors
from functrain_torch.compat.apply_func import from_numpy as from_numpy
from functrain_torch.compat.apply_func import move_data_to_device as move_data_to_device
from functrain_torch.compat.apply_func import to_dtype_tensor as to_dtype_tensor

__all__ = [
    "TransferableDataType",
    "apply_to_collection",
    "apply_to_collections",
    "convert_to_tensors",
    "from_numpy",
    "move_data_to_device",
    "to_dtype_tensor",
]
