"""Values of a framework as arrays of numpy, held against one another."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import cache
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
DEPTH = 5
"""So deep it is looked into objects."""


def described(value: Any, known: Callable[[Any], Any], depth: int = DEPTH) -> Any:
    """Return what an attribute holds, as far as it can be compared: numbers and text, arrays by their bytes, containers
    and objects of users' own classes by what they hold; of all else its class.

    Args:
        known: returns what is described in the place of a framework's value: an array of numpy, or text; None for all
            else.
    """
    if isinstance(value, PLAIN):
        return value
    if not depth:
        return type(value).__name__
    if isinstance(value, Mapping):
        items: Any = value.items()
        return {str(key): described(item, known, depth - 1) for key, item in items}
    if isinstance(value, list | tuple | set | frozenset | deque):
        many: Any = value
        parts = [described(item, known, depth - 1) for item in many]
        return sorted(parts, key=repr) if isinstance(value, set | frozenset) else parts
    array = value if isinstance(value, np.ndarray | np.generic) else known(value)
    if isinstance(array, np.ndarray | np.generic):
        return f"{array.dtype}{array.shape} {digest(np.ascontiguousarray(array).tobytes())}"
    if array is not None:
        return array
    if not isinstance(value, type) and is_of_user(type(value)):
        parts = {name: described(item, known, depth - 1) for name, item in held(value)}
        return {"__class__": type(value).__name__, **parts}
    return type(value).__name__


def digest(content: bytes) -> str:
    """Return a short digest."""
    return sha256(content).hexdigest()[:12]


def held(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what an object holds, by name."""
    yield from getattr(value, "__dict__", {}).items()
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name):
                yield name, getattr(value, name)


def of_classes(kind: type, known: Callable[[Any], Any]) -> dict[str, Any]:
    """Return what users' own classes hold that a step could write: numbers, text, arrays, and containers of them."""
    return {
        f"{each.__name__}.{name}": described(value, known)
        for each in kind.__mro__
        if is_of_user(each)
        for name, value in vars(each).items()
        if not name.startswith("__") and (isinstance(value, HOLDERS) or known(value) is not None)
    }


HOLDERS = (*PLAIN, list, dict, set, deque, np.ndarray)


@cache
def is_of_user(kind: type) -> bool:
    """Return whether a class is neither of a library nor of Python."""
    module = sys.modules.get(kind.__module__)
    root = kind.__module__.partition(".")[0]
    file = getattr(module, "__file__", None) or ""
    is_installed = "site-packages" in file or "dist-packages" in file
    is_known = root in sys.stdlib_module_names or root == "functrain" or root.startswith("functrain_")
    return not (is_installed or is_known) or root == "__main__"
