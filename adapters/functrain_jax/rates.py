"""What the learning rate of a player is, for monitors. Reads the device where the rate is kept there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optax


def current_rate(told: float | Callable[[int], Any] | None, opt: Any, updates: Any) -> float | None:
    """The learning rate; None where nobody tells it.

    Args:
        told: what `configure_optimizers` says: a number, or a schedule of the player's updates.
        opt: the optimizer's state; one of `optax.inject_hyperparams` tells the rate by itself.
        updates: the player's updates so far.
    """
    if callable(told):
        return float(told(int(updates)))
    if told is not None:
        return float(told)
    found = optax.tree.get_all_with_path(opt, "learning_rate")
    return float(found[0][1]) if found else None
