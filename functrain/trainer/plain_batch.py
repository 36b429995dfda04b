"""A batch as plain values and arrays, which are read back without running code."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from functrain.trainer.narrow import is_list, is_mapping, is_sequence, is_tuple

NUMPY = "$numpy"
"""The only key of a dict that stands for an array of numpy's: adapters may read one back as their own."""

DEEPEST = 16
"""Objects within objects are looked into so far."""


def taken_apart(batch: Any) -> tuple[Any, list[str]]:
    """Return a batch as lists, tuples and dicts of plain values and arrays, and what had to be left out, each by its
    place and class; None stands there.

    A named tuple becomes a tuple; a dataclass, or another object, a dict of its fields.
    """
    left_out: list[str] = []
    return _apart(batch, "batch", (), left_out), left_out


def put_together(held: Any) -> Any:
    """Return what `taken_apart` returned, with numpy's arrays as such."""
    if is_mapping(held):
        if len(held) == 1 and NUMPY in held:
            return np.asarray(held[NUMPY])
        return {key: put_together(item) for key, item in held.items()}
    if is_tuple(held):
        return tuple(put_together(item) for item in held)
    return [put_together(item) for item in held] if is_list(held) else held


def _apart(value: Any, where: str, above: tuple[int, ...], left_out: list[str]) -> Any:
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        numbers = value.ndim and value.dtype.kind in "biufc"
        return {NUMPY: value} if numbers else _apart(value.tolist(), where, above, left_out)
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return value
    if id(value) not in above and len(above) < DEEPEST:
        above = (*above, id(value))
        items: Any = list(value) if type(value) in (set, frozenset) else value
        if is_sequence(items):
            items = [_apart(item, f"{where}[{i}]", above, left_out) for i, item in enumerate(items)]
            return tuple(items) if isinstance(value, tuple) else items
        fields = _fields(value)
        if fields is not None:
            form = "{}[{!r}]" if is_mapping(value) else "{}.{}"
            return {key: _apart(item, form.format(where, key), above, left_out) for key, item in fields.items()}
    left_out.append(f"{where} (a {type(value).__module__}.{type(value).__qualname__})")
    return None


def _fields(value: Any) -> Mapping[Any, Any] | None:
    """Return what is in a mapping, a dataclass or another object; None where it can hold no part of a batch."""
    if is_mapping(value):
        return value if all(isinstance(key, bool | int | float | str | bytes) for key in value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    own: Any = getattr(value, "__dict__", None)
    return dict(own) if own and not callable(value) else None
