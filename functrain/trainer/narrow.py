"""What users hand in, asked for its type in a way that a type checker understands; what is inside stays Any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard


def is_mapping(value: object) -> TypeGuard[Mapping[Any, Any]]:
    """Return whether it is a mapping."""
    return isinstance(value, Mapping)


def is_dict(value: object) -> TypeGuard[dict[Any, Any]]:
    """Return whether it is a dictionary."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Return whether it is a list."""
    return isinstance(value, list)


def is_tuple(value: object) -> TypeGuard[tuple[Any, ...]]:
    """Return whether it is a tuple."""
    return isinstance(value, tuple)


def is_sequence(value: object) -> TypeGuard[list[Any] | tuple[Any, ...]]:
    """Return whether it is a list or a tuple."""
    return isinstance(value, list | tuple)


def is_text(value: object) -> TypeGuard[str]:
    """Return whether it is a string."""
    return isinstance(value, str)


def is_count(value: object, least: int = 0) -> TypeGuard[int]:
    """Return whether it is an int, and no bool, of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether it is an int or a float, and no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def class_of(value: object) -> type[Any]:
    """Return its class."""
    return type(value)
