"""Values as descriptions that compare equal where a compiled step would be the same: numbers and small containers by
value, functions by their code and what it refers to, everything else by identity. Reads only."""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
import types
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from functrain.trainer.module import ModuleBase

SCALARS = frozenset((type(None), bool, int, str, bytes, complex))
SETTINGS = (type(None), bool, int, float, str, bytes, complex, tuple, list, dict, np.ndarray, np.generic)
MOST = 2048
"""Longer containers are told apart by identity and length."""

BYTES = 2**20
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
    """Return the description of a value; see above."""
    return _frozen(value, depth, {})


def _frozen(value: Any, depth: int, seen: dict[int, int]) -> Any:
    """What came before, in a cycle or by another way, is told by its number: every object is described once."""
    kind = type(value)
    if kind in SCALARS:
        return kind, value
    if kind is float:
        return kind, value.hex()
    if isinstance(value, np.ndarray | np.generic):
        return _array(value)
    if depth <= 0 or isinstance(value, types.ModuleType):
        return Same(value)
    if isinstance(value, types.MethodType):
        return kind, _frozen(value.__self__, depth - 1, seen), _frozen(value.__func__, depth - 1, seen)
    if isinstance(value, inspect.Signature):
        return kind, str(value)
    if id(value) in seen:
        return "seen", seen[id(value)]
    seen[id(value)] = len(seen)
    if isinstance(value, type):
        return Same(value), _container(_settings(value), depth - 1, seen)
    if isinstance(value, tuple | list | dict | set | frozenset | deque):
        return _container(value, depth - 1, seen)
    if isinstance(value, types.FunctionType):
        return _function(value, depth - 1, seen)
    if isinstance(value, functools.partial):
        parts = value.func, value.args, value.keywords
        return kind, tuple(_frozen(part, depth - 1, seen) for part in parts)
    is_told_by_identity = (of_library(kind) and kind is not types.SimpleNamespace) or isinstance(value, ModuleBase)
    if is_told_by_identity:
        return Same(value)
    return Same(value), _container(_inside(value), depth - 1, seen), _frozen(kind, depth - 1, seen)


def _array(value: Any) -> Any:
    if value.nbytes > BYTES or value.dtype.hasobject:
        return Same(value)
    return type(value), value.shape, value.dtype.str, hashlib.blake2b(value.tobytes()).digest()


def _inside(value: Any) -> dict[str, Any]:
    """Return what an object holds, in its dict or in slots."""
    inside = getattr(value, "__dict__", None)
    slots = [slot for cls in type(value).__mro__ for slot in _slots(cls) if hasattr(value, slot)]
    return {**{slot: getattr(value, slot) for slot in slots}, **(inside if isinstance(inside, dict) else {})}


def _slots(cls: type) -> tuple[str, ...]:
    slots = vars(cls).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _settings(cls: type) -> dict[str, Any]:
    """Return the numbers, words and containers that a user's class and its bases hold, without what is only code."""
    held = {k: v for base in reversed(cls.__mro__) if not of_library(base) for k, v in vars(base).items()}
    return {k: v for k, v in held.items() if not k.startswith("__") and isinstance(v, SETTINGS)}


def _container(value: Any, depth: int, seen: dict[int, int]) -> Any:
    kind = type(value)
    if len(value) > MOST:
        return kind, Same(value), len(value)
    if isinstance(value, dict):
        return kind, tuple((_frozen(key, depth, seen), _frozen(item, depth, seen)) for key, item in value.items())
    if isinstance(value, set | frozenset):
        return kind, frozenset(_frozen(item, depth, {}) for item in value)
    return kind, tuple(_frozen(item, depth, seen) for item in value)


def _function(function: types.FunctionType, depth: int, seen: dict[int, int]) -> Any:
    cells = [cell_value(cell) for cell in function.__closure__ or ()]
    given = (function.__defaults__, function.__kwdefaults__)
    return function.__code__, tuple(_frozen(part, depth, seen) for part in (*cells, *given))


def cell_value(cell: Any) -> Any:
    """Return what a closure's cell holds; the cell itself while it is empty."""
    try:
        return cell.cell_contents
    except ValueError:
        return cell


def of_library(value: Any) -> bool:
    """Return whether this class or function is one of a library."""
    return (getattr(value, "__module__", None) or "").partition(".")[0] in LIBRARIES


def code_of(methods: Iterable[Any], owner: type, classes: Iterable[type]) -> Any:
    """Return what steps compute, as far as it stands in code: their own, that of the user's methods and functions that
    they call by name, that of these classes, and the values of the globals that they name."""
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
    leads_nowhere = not isinstance(function, types.FunctionType) or id(function) in seen or of_library(function)
    if leads_nowhere:
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
                yield name, frozen(value, 3)
            elif isinstance(value, types.ModuleType):
                yield from _of_module(value, function, owner, seen)
            else:
                yield name, frozen(value, 3)


def _of_module(module: types.ModuleType, function: types.FunctionType, owner: type, seen: set[int]) -> Iterator[Any]:
    """Yield what of a module the function may name: `config.rate`, `losses.mean(x)`."""
    if module.__name__.partition(".")[0] in LIBRARIES:
        return
    for name in dict.fromkeys(_names(function.__code__)):
        value = vars(module).get(name)
        if isinstance(value, types.FunctionType):
            yield from _reached(value, owner, seen)
        elif value is not None:
            yield name, frozen(value, 3)


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from _names(const)
