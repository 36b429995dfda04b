"""Values as descriptions that compare equal where a compiled step would be the same: numbers and small containers by
value, functions by their code and what it refers to, everything else by identity. Reads only."""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

SCALARS = frozenset((type(None), bool, int, str, bytes, complex))
MOST = 256
"""Longer containers are told apart by identity and length."""

BYTES = 4096
"""Larger arrays are told apart by identity."""

DEPTH = 12
LIBRARIES = frozenset(
    ("jax", "jaxlib", "flax", "optax", "numpy", "functrain", "functrain_jax", "functrain_torch", "torch", "orbax")
) | frozenset(sys.stdlib_module_names)
"""Their functions and classes are the same as long as the process lives."""


class Same:
    """Equal to another of the very same object, which it keeps alive."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)

    def __repr__(self) -> str:
        return f"the same {type(self.value).__name__}"


def frozen(value: Any, depth: int = DEPTH) -> Any:
    """The description of a value; see above."""
    kind = type(value)
    if kind in SCALARS:
        return kind, value
    if kind is float:
        return kind, value.hex()
    if isinstance(value, np.ndarray | np.generic):
        return (kind, value.shape, value.dtype.str, value.tobytes()) if value.nbytes <= BYTES else Same(value)
    if depth <= 0 or isinstance(value, type | types.ModuleType):
        return Same(value)
    if isinstance(value, tuple | list | dict | set | frozenset):
        return _container(value, depth - 1)
    if isinstance(value, types.FunctionType):
        return _function(value, depth - 1)
    if isinstance(value, types.MethodType):
        return kind, frozen(value.__self__, depth - 1), frozen(value.__func__, depth - 1)
    if isinstance(value, functools.partial):
        return kind, frozen((value.func, value.args, value.keywords), depth - 1)
    if isinstance(value, inspect.Signature):
        return kind, str(value)
    inside = getattr(value, "__dict__", None)
    if not isinstance(inside, dict) or (of_library(kind) and kind is not types.SimpleNamespace):
        return Same(value)
    return Same(value), frozen(inside, min(depth - 1, 3))


def _container(value: Any, depth: int) -> Any:
    kind = type(value)
    if len(value) > MOST:
        return kind, Same(value), len(value)
    if isinstance(value, dict):
        return kind, tuple((frozen(key, depth), frozen(item, depth)) for key, item in value.items())
    if isinstance(value, set | frozenset):
        return kind, frozenset(frozen(item, depth) for item in value)
    return kind, tuple(frozen(item, depth) for item in value)


def _function(function: types.FunctionType, depth: int) -> Any:
    cells = [cell_value(cell) for cell in function.__closure__ or ()]
    given = (function.__defaults__, function.__kwdefaults__)
    # A cell that holds the function itself, or one around it, ends at the depth.
    return (
        function.__code__,
        tuple(frozen(c, depth - 2 if c is function else depth) for c in cells),
        frozen(given, depth),
    )


def cell_value(cell: Any) -> Any:
    """What a closure's cell holds; the cell itself while it is empty."""
    try:
        return cell.cell_contents
    except ValueError:
        return cell


def of_library(value: Any) -> bool:
    """Is this class or function one of a library?"""
    return (getattr(value, "__module__", None) or "").partition(".")[0] in LIBRARIES


def code_of(methods: Iterable[Any], owner: type, classes: Iterable[type]) -> Any:
    """What steps compute, as far as it stands in code: their own, that of the user's methods and functions that they
    call by name, that of these classes, and the values of the globals that they name."""
    seen: set[int] = set()
    reached = [part for method in methods for part in _reached(getattr(method, "__func__", method), owner, seen)]
    return (*reached, *(part for cls in classes for part in _class(cls, seen)))


def _class(cls: type, seen: set[int]) -> Iterator[Any]:
    if id(cls) not in seen and not of_library(cls):
        seen.add(id(cls))
        for base in cls.__mro__:
            for function in () if of_library(base) else list(vars(base).values()):
                yield from _reached(function, cls, seen)


def _reached(function: Any, owner: type, seen: set[int]) -> Iterator[Any]:
    function = inspect.unwrap(function) if callable(function) else function
    if not isinstance(function, types.FunctionType) or id(function) in seen or of_library(function):
        return
    seen.add(id(function))
    yield frozen(function)
    for cell in function.__closure__ or ():
        yield from _reached(cell_value(cell), owner, seen)
    for name in dict.fromkeys(_names(function.__code__)):
        found = inspect.getattr_static(owner, name, None)
        for part in (found, getattr(found, "fget", None), getattr(found, "__func__", None)):
            yield from _reached(part, owner, seen)
        if name in function.__globals__:
            value = function.__globals__[name]
            if isinstance(value, types.FunctionType):
                yield from _reached(value, owner, seen)
            elif isinstance(value, type):
                yield from _class(value, seen)
            else:
                yield name, frozen(value, 3)


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from _names(const)
