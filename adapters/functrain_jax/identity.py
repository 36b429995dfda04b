"""What an optax transformation is, told by its state and by the values it was made with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from functools import partial
from types import FunctionType, MethodType
from typing import Any

from functrain.kernel.state import Player
from functrain_jax.players import Spec
from functrain_jax.rates import current_rate

MANY = 256
"""A longer container in a closure holds data."""


def form(state: Any) -> str:
    """Return the types that an optimizer's state is made of: another transformation has others, though its arrays be
    alike."""
    if isinstance(state, tuple) and hasattr(state, "_fields"):
        inner = [form(part) for part in state if _has_form(part)]
        return type(state).__name__ + (f"[{', '.join(inner)}]" if inner else "")
    if isinstance(state, list | tuple):
        return f"({', '.join(form(part) for part in state)})"
    if isinstance(state, Mapping):
        return ", ".join(f"{key}: {form(part)}" for key, part in state.items() if _has_form(part))
    return type(state).__name__ if hasattr(state, "__dict__") and not hasattr(state, "dtype") else "values"


def _has_form(part: Any) -> bool:
    """Return whether it holds types of states, other than arrays and trees of them."""
    if isinstance(part, tuple):
        return hasattr(part, "_fields") or any(map(_has_form, part))
    if isinstance(part, list):
        return any(map(_has_form, part))
    return isinstance(part, Mapping) and any(map(_has_form, part.values()))


def facts(specs: Sequence[Spec], players: Sequence[Player]) -> tuple[dict[str, str], dict[str, str]]:
    """Return what the players' transformations were made with, as text by name.

    Returns:
        What a transformation holds; and what its state holds (`optax.inject_hyperparams`), which a run that continues
        takes from the checkpoint.
    """
    now: dict[str, str] = {}
    kept: dict[str, str] = {}
    for i, (spec, player) in enumerate(zip(specs, players, strict=True)):
        values, held = settings(spec.optimizer), injected(player.opt)
        rate = current_rate(spec.learning_rate, spec.optimizer, player.opt, 0)
        if rate is not None and "learning_rate" not in held:
            # optax keeps a constant one under this name, negated.
            values = {"learning_rate": f"{rate:.7g}", **{k: v for k, v in values.items() if k != "scale.step_size"}}
        now |= {f"{name} of optimizer {i}": value for name, value in values.items()}
        kept |= {f"{name} of optimizer {i}": value for name, value in held.items()}
    return now, kept


def injected(state: Any) -> dict[str, str]:
    """Return the hyperparameters that an optimizer's state holds, but for those that a schedule sets anew."""
    found: dict[str, str] = {}
    if isinstance(state, tuple) and hasattr(state, "hyperparams"):
        scheduled = getattr(state, "hyperparams_states", None) or {}
        held: Mapping[str, Any] = state.hyperparams  # pyright: ignore[reportAttributeAccessIssue]
        found = {name: f"{float(v):.7g}" for name, v in held.items() if name not in scheduled and _is_number(v)}
    inner = state.values() if isinstance(state, Mapping) else state
    for part in inner if isinstance(state, Mapping | list | tuple) else ():
        found = {**injected(part), **found}
    return found


def settings(optimizer: Any) -> dict[str, str]:
    """Return the numbers, flags and names in the closures of a transformation, by function and name:
    `scale_by_adam.b1`."""
    found: dict[str, str] = {}
    _look(optimizer.update, "", found, set())
    return found


def _look(value: Any, name: str, found: dict[str, str], seen: set[int]) -> None:
    if isinstance(value, bool | int | float | str) or _is_number(value):
        text = str(value) if isinstance(value, bool | int | str) else f"{float(value):.7g}"
        while name in found:
            name += "'"
        found[name] = text
        return
    looked_at = id(value) in seen or (isinstance(value, Sized) and len(value) > MANY)
    if looked_at:
        return
    seen.add(id(value))
    if isinstance(value, FunctionType):
        owner = value.__qualname__.partition(".<locals>")[0]
        for inner, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            if not (owner == "inject_hyperparams" and inner == "numeric_hps"):  # its state has them
                _look(_content(cell), f"{owner}.{inner}", found, seen)
    elif isinstance(value, partial):
        _look(value.func, name, found, seen)
        _look(value.keywords, name, found, seen)
    elif isinstance(value, MethodType):
        _look(vars(value.__self__), type(value.__self__).__name__, found, seen)
    elif isinstance(value, tuple) and hasattr(value, "update"):
        _look(value.update, name, found, seen)  # pyright: ignore[reportAttributeAccessIssue]
    elif isinstance(value, list | tuple):
        for part in value:
            _look(part, name, found, seen)
    elif isinstance(value, Mapping):
        for key, part in value.items():
            _look(part, f"{name}.{key}", found, seen)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None  # not set yet


def _is_number(value: Any) -> bool:
    return getattr(value, "shape", None) == () and hasattr(value, "dtype") and hasattr(value, "__float__")
