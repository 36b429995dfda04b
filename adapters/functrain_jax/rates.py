"""What the learning rate of a player is, for monitors. Reads the device where the rate is kept there."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import optax

from functrain.kernel.state import Player
from functrain_jax.players import Spec


class Rates:
    """Reads the rates of a run's players; of one that cannot be known it tells once.

    Args:
        owner: the module's class name, for the message.
    """

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.warned: set[str] = set()

    def read(self, specs: Sequence[Spec], players: Sequence[Player]) -> dict[str, float]:
        """By the name that a monitor logs it under."""
        rates: dict[str, float] = {}
        for spec, player in zip(specs, players, strict=False):
            name = f"lr-{spec.name}" if spec.name else "lr"
            rate = current_rate(spec.learning_rate, spec.optimizer, player.opt, player.updates)
            if rate is not None:
                rates[name] = rate
            elif name not in self.warned:
                self.warned.add(name)
                warnings.warn(
                    f"{self.owner}.configure_optimizers: the learning rate {name!r} cannot be read from this optax "
                    "transformation, so nothing is logged of it. Return {'optimizer': tx, 'learning_rate': schedule}, "
                    "with the number or the schedule that tx was made of.",
                    UserWarning,
                    stacklevel=2,
                )
        return rates


def current_rate(given: float | Callable[[int], Any] | None, optimizer: Any, opt: Any, updates: Any) -> float | None:
    """Return the learning rate of the player's next update; None where it cannot be known.

    Args:
        given: what `configure_optimizers` says: a number, or a schedule of the player's updates.
        optimizer: the player's optax transformation; one of optax's own, a chain with one, and one of
            `optax.inject_hyperparams` tell it.
        opt: the optimizer's state.
        updates: the player's updates so far.
    """
    rate = rate_of(given, optimizer, opt, int(updates), float)
    return None if rate is None else float(rate)


def rate_of(
    given: float | Callable[[int], Any] | None,
    optimizer: Any,
    opt: Any,
    updates: Any,
    read: Callable[[Any], Any] = lambda value: value,
) -> Any:
    """As `current_rate`, without reading what is on a device, and traceable. `read` is applied to the parts of the
    rate."""
    if callable(given):
        return given(updates)
    if given is not None:
        return given
    factors = _factors(optimizer.update, opt)
    # A lone sign is no rate: such an optimizer takes its rate from elsewhere.
    if not factors or (len(factors) == 1 and isinstance(factors[0], int | float) and factors[0] == -1):
        return None
    return -prod(map(read, factors))


def _factors(update: Any, state: Any) -> list[Any] | None:
    """Return what the updates are multiplied by, part by part; None where a part is not known to leave the rate
    alone."""
    kind = f"{getattr(update, '__module__', '')}.{getattr(update, '__qualname__', '')}"
    if not kind.startswith("optax.") or not inspect.isfunction(update):
        return None
    inner = inspect.getclosurevars(update).nonlocals
    if kind.endswith("chain.<locals>.update_fn") and len(inner.get("update_fns", ())) == len(state):
        parts = [_factors(fn, part) for fn, part in zip(inner["update_fns"], state, strict=True)]
        return None if any(part is None for part in parts) else [f for part in parts for f in part or ()]
    if kind.endswith("with_extra_args_support.<locals>.update"):
        return _factors(inner["tx"].update, state)
    if kind.endswith(".masked.<locals>.update_fn") and isinstance(state, optax.MaskedState):
        # A decay of some weights leaves the rate alone; a rate of some weights is not that of all.
        return None if _factors(inner["inner"].update, state.inner_state) != [] else []
    if kind.endswith(".scale.<locals>.update_fn"):
        return [inner["step_size"]]
    if kind.endswith(".scale_by_schedule.<locals>.update_fn"):
        return [inner["step_size_fn"](state.count)]
    if isinstance(state, optax.InjectStatefulHyperparamsState):
        return _injected(inner, state)
    return None if any(map(_transforms, inner.values())) else []


def _injected(inner: Mapping[str, Any], state: Any) -> list[Any] | None:
    schedule = inner.get("sched_hps", {}).get("learning_rate")
    if schedule is not None:
        return [-schedule(state.hyperparams_states["learning_rate"])]
    rate = state.hyperparams.get("learning_rate")
    return None if rate is None else [-rate]


def _transforms(value: Any) -> bool:
    """Return whether it holds a transformation, whose rate would be hidden here."""
    if isinstance(value, optax.GradientTransformation):
        return True
    if isinstance(value, dict):
        return any(map(_transforms, value.values()))
    named = getattr(value, "__qualname__", "").rpartition(".")[2]
    return named in ("update_fn", "update") or (isinstance(value, list | tuple) and any(map(_transforms, value)))
