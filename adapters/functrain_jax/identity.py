"""What an optax transformation is, told by its state and by the values it was made with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def form(state: Any) -> str:
    """The types that an optimizer's state is made of: another transformation has others, though its arrays be alike."""
    if isinstance(state, tuple) and hasattr(state, "_fields"):
        inner = [form(part) for part in state if _has_form(part)]
        return type(state).__name__ + (f"[{', '.join(inner)}]" if inner else "")
    if isinstance(state, list | tuple):
        return f"({', '.join(form(part) for part in state)})"
    if isinstance(state, Mapping):
        return ", ".join(f"{key}: {form(part)}" for key, part in state.items() if _has_form(part))
    return type(state).__name__ if hasattr(state, "__dict__") and not hasattr(state, "dtype") else "values"


def _has_form(part: Any) -> bool:
    """Does it hold types of states, other than arrays and trees of them?"""
    if isinstance(part, tuple):
        return hasattr(part, "_fields") or any(map(_has_form, part))
    if isinstance(part, list):
        return any(map(_has_form, part))
    return isinstance(part, Mapping) and any(map(_has_form, part.values()))
