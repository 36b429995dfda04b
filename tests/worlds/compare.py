"""Two records of one program: their first difference, in words that one can read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.worlds.observe import Event

BEFORE = 4
"""Events shown before a difference."""


def first_difference(names: tuple[str, str], a: Sequence[Event], b: Sequence[Event], tolerance: float) -> str | None:
    """Where the two part; None where they agree.

    Args:
        tolerance: of numbers, relative to the larger of their size and 1; 0 asks for the same bits.
    """
    for place in range(max(len(a), len(b))):
        one, other = (events[place] if place < len(events) else None for events in (a, b))
        why = _differ(one, other, tolerance)
        if why is not None:
            lines = [f"    {event}" for event in a[max(0, place - BEFORE) : place]]
            pairs = zip(names, (one, other), strict=True)
            told = [f"{name + ':':<12}{'(nothing more)' if e is None else e}" for name, e in pairs]
            return "\n".join([f"they part at event {place}: {why}. Before it, in both:", *lines, *told])
    return None


def kind_of(told: str | None) -> str | None:
    """In what way they part, whatever the event: a failure that is made smaller must stay of its kind."""
    kinds = ("one of them ends", "different events", "only one of them has", "differ")
    return None if told is None else next(kind for kind in kinds if kind in told.split("Before it")[0])


def _differ(one: Event | None, other: Event | None, tolerance: float) -> str | None:
    if one is None or other is None:
        return "one of them ends"
    if one.what != other.what:
        return "different events"
    only = set(one.values) ^ set(other.values)
    if only:
        return f"only one of them has {', '.join(sorted(only))}"
    apart = [name for name, value in one.values.items() if not close(value, other.values[name], tolerance)]
    return f"{', '.join(apart)} differ" if apart else None


def close(a: Any, b: Any, tolerance: float) -> bool:
    """Are they the same, or numbers close to one another?"""
    if a is None or b is None or isinstance(a, str) or isinstance(b, str):
        return a is b or (isinstance(a, str) and a == b)
    one, other = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if one.shape != other.shape:
        return False
    if tolerance == 0:
        return np.array_equal(one, other, equal_nan=True)
    return np.allclose(one, other, rtol=tolerance, atol=tolerance, equal_nan=True)
