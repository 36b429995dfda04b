"""Values in a callback's state, as a checkpoint holds it: each is of the kind that was written, or named. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any


def count(state: Mapping[str, Any], key: str) -> int:
    """Return an int >= 0.

    Raises:
        ValueError: it is none; as in all of these, the message names the key and the value.
    """
    value = state[key]
    return value if type(value) is int and value >= 0 else _wrong(key, value, "an int >= 0")


def number(state: Mapping[str, Any], key: str) -> float:
    """Return a number, NaN and infinities among them."""
    return float(state[key]) if _is_number(state[key]) else _wrong(key, state[key], "a number")


def text(state: Mapping[str, Any], key: str) -> str:
    """Return a str."""
    return state[key] if isinstance(state[key], str) else _wrong(key, state[key], "a str")


def switch(state: Mapping[str, Any], key: str) -> bool:
    """True or False."""
    return state[key] if isinstance(state[key], bool) else _wrong(key, state[key], "True or False")


def texts(state: Mapping[str, Any], key: str) -> list[str]:
    """Several of them; none where there is no such key."""
    values = state.get(key, ())
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
        _wrong(key, values, "a list of str")
    return list(values)


def scores(state: Mapping[str, Any], key: str) -> dict[str, float]:
    """Numbers by str."""
    values = state[key]
    if not isinstance(values, Mapping):
        _wrong(key, values, "a dict of numbers by path")
    for name, value in values.items():
        if not isinstance(name, str) or not _is_number(value):
            _wrong(f"{key}[{name!r}]", value, "a number by a path")
    return {name: float(value) for name, value in values.items()}


def part(state: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the state of a part."""
    return state[key] if isinstance(state[key], Mapping) else _wrong(key, state[key], "a dict")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _wrong(key: str, value: Any, what: str) -> Any:
    raise ValueError(f"{key}={value!r}: must be {what}")
