"""Functions over the parts of nested collections, by their older names."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from functrain_torch.tree import move


class TransferableDataType(ABC):
    """Whatever has a method `to(device)`: `isinstance` says so of any object with one."""

    @classmethod
    def __subclasshook__(cls, subclass: Any) -> Any:
        """Return whether a class has a method `to`."""
        return callable(getattr(subclass, "to", None)) if cls is TransferableDataType else NotImplemented

    @abstractmethod
    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Return it on a device."""


def move_data_to_device(batch: Any, device: str | torch.device) -> Any:
    """Return the batch with everything that has a `to` on the device; all else as it is."""
    return move(batch, torch.device(device))


def to_dtype_tensor(value: int | float | list[int | float], dtype: torch.dtype, device: str | torch.device) -> Any:
    """Return a number, or a list of them, as a tensor of this dtype on this device."""
    return torch.tensor(value, dtype=dtype, device=device)


def from_numpy(value: np.ndarray, device: str | torch.device) -> torch.Tensor:
    """Return an array as a tensor on this device."""
    return torch.from_numpy(value).to(device)


def convert_to_tensors(data: Any, device: str | torch.device) -> Any:
    """Return the same collection with numbers and arrays as tensors, all of them on this device."""
    for kind, dtype in ((bool, torch.bool), (int, torch.int), (float, torch.float)):
        data = apply_to_collection(
            data, kind, to_dtype_tensor, dtype, device, wrong_dtype=bool if kind is int else None
        )
    data = apply_to_collection(data, np.ndarray, from_numpy, device)
    return move_data_to_device(data, device)


def apply_to_collection(
    data: Any,
    dtype: Any,
    function: Callable[..., Any],
    *args: Any,
    wrong_dtype: Any = None,
    include_none: bool = True,
    **kwargs: Any,
) -> Any:
    """Return the same collection with `function(part, *args, **kwargs)` in the place of each part of this type.

    Args:
        data: mappings, sequences, named tuples and dataclasses, nested as one likes; or one part.
        dtype: a type, or a tuple of types.
        wrong_dtype: a type of which parts are left as they are, though they be of `dtype`.
        include_none: False leaves out what the function returned None for.
    """
    if isinstance(data, dtype) and not (wrong_dtype is not None and isinstance(data, wrong_dtype)):
        return function(data, *args, **kwargs)

    def inner(part: Any) -> Any:
        named = {"wrong_dtype": wrong_dtype, "include_none": include_none, **kwargs}
        return apply_to_collection(part, dtype, function, *args, **named)

    def kept(parts: Any) -> list[Any]:
        return [(key, new) for key, new in parts if include_none or new is not None]

    if isinstance(data, Mapping):
        items = kept((key, inner(part)) for key, part in data.items())
        return _like(data, items)
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(new for _, new in kept((i, inner(part)) for i, part in enumerate(data))))
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return type(data)([new for _, new in kept((i, inner(part)) for i, part in enumerate(data))])  # type: ignore[call-arg]
    if dataclasses.is_dataclass(data) and not isinstance(data, type):
        return _replaced(data, kept((f.name, inner(getattr(data, f.name))) for f in dataclasses.fields(data) if f.init))
    return data


def apply_to_collections(
    data1: Any, data2: Any, dtype: Any, function: Callable[..., Any], *args: Any, wrong_dtype: Any = None, **kwargs: Any
) -> Any:
    """Return the same collection with `function(part1, part2, ...)` in the place of each part of this type; of None and
    a collection with that of the one.

    Raises:
        AssertionError: sequences of different lengths.
    """
    if data1 is None:
        return apply_to_collection(data2, dtype, function, *args, wrong_dtype=wrong_dtype, **kwargs)
    if isinstance(data1, dtype) and not (wrong_dtype is not None and isinstance(data1, wrong_dtype)):
        return function(data1, data2, *args, **kwargs)

    def inner(one: Any, other: Any) -> Any:
        return apply_to_collections(one, other, dtype, function, *args, wrong_dtype=wrong_dtype, **kwargs)

    if isinstance(data1, Mapping):
        keys = list(dict.fromkeys([*data1, *(data2 or ())]))
        others = data2 or {}
        return _like(data1, [(key, inner(data1.get(key), others.get(key))) for key in keys])
    if isinstance(data1, Sequence) and not isinstance(data1, str | bytes):
        others = [None] * len(data1) if data2 is None else data2
        assert len(data1) == len(others), f"sequences of {len(data1)} and {len(others)} parts"
        parts = [inner(one, other) for one, other in zip(data1, others, strict=True)]
        return type(data1)(*parts) if hasattr(data1, "_fields") else type(data1)(parts)  # type: ignore[call-arg]
    return data1


def _like(data: Any, items: list[Any]) -> Any:
    if isinstance(data, defaultdict):
        return defaultdict(data.default_factory, OrderedDict(items))
    return type(data)(OrderedDict(items))


def _replaced(data: Any, items: list[Any]) -> Any:
    """Return a copy of a dataclass with these fields, also where it is frozen."""
    import copy

    new = copy.copy(data)
    for name, value in items:
        object.__setattr__(new, name, value)
    return new
