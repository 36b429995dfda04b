"""Values of a framework as arrays of numpy, held against one another."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

import numpy as np


def number(value: Any) -> np.ndarray:
    """Return a scalar of a framework, or a row of them, as an array of numpy."""
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def first_difference(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> str | None:
    """Return the first path at which these arrays are not equal to the bit, with the size of the difference; None where
    there is none."""
    for path, array in one.items():
        if path not in other:
            return f"{path} {array.shape}, which is missing"
        now = other[path]
        if array.shape != now.shape or array.dtype != now.dtype:
            return f"{path}, {array.dtype}{array.shape} and {now.dtype}{now.shape}"
        if array.tobytes() != now.tobytes():
            apart = np.abs(np.asarray(array, np.float64) - np.asarray(now, np.float64)).max()
            return f"{path} {array.shape}, by up to {apart:.3g}"
    added = next((path for path in other if path not in one), None)
    return None if added is None else f"{added} {other[added].shape}, which is new"


PLAIN = (bool, int, float, complex, str, bytes, type(None))


def described(value: Any, as_array: Callable[[Any], np.ndarray | None]) -> Any:
    """Return what an attribute holds, as far as it can be compared: numbers and text, arrays by their bytes, containers
    of such; of all else its class.

    Args:
        as_array: returns a framework's array as numpy's; None for all else.
    """
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, Mapping):
        items: Any = value.items()
        return {str(key): described(item, as_array) for key, item in items}
    if isinstance(value, list | tuple | set | frozenset | deque):
        many: Any = value
        parts = [described(item, as_array) for item in many]
        return sorted(parts, key=repr) if isinstance(value, set | frozenset) else parts
    array = value if isinstance(value, np.ndarray | np.generic) else as_array(value)
    if array is None:
        return type(value).__name__
    return f"{array.dtype}{array.shape} {sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:12]}"
