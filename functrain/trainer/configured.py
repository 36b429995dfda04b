"""What `configure_optimizers` may say in every framework, checked: the keys of its dicts, and whose turn it is."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from functrain.kernel.plan import PlayerPlan
from functrain.trainer.errors import ConfigurationError, nearest
from functrain.trainer.narrow import is_count
from functrain.trainer.overriding import overrides


def require(module: object, *methods: str, by: str = "trainer.fit") -> None:
    """Check that the module defines what a run calls.

    Args:
        by: who calls it, for the message.

    Raises:
        ConfigurationError: it lacks one of the methods.
    """
    for method in methods:
        if not overrides(module, method):
            raise ConfigurationError(f"{type(module).__name__}.{method} is not defined; {by} needs it.")


def check_keys(entry: Iterable[Any], known: Collection[str], where: str, of: str = "") -> None:
    """Check the keys of a dict that describes an optimizer or a scheduler. One that nobody knows is left aside, with a
    warning.

    Args:
        where: the method, for the message.
        of: the part of what it returned, for the message: ' of lr_scheduler'.

    Raises:
        ConfigurationError: one is a known one, misspelt; names that.
    """
    unknown = [key for key in entry if key not in known]
    keys = f"the keys are {', '.join(map(repr, known))}."
    for key in unknown:
        meant = nearest(str(key), known)
        if meant:
            raise ConfigurationError(f"{where}: unknown key {key!r}{of}; {keys}{meant}")
    if unknown:
        told = f"unknown key{'s' * (len(unknown) > 1)} {', '.join(map(repr, unknown))}{of}"
        warnings.warn(f"{where}: {told}, left aside; {keys}", RuntimeWarning, stacklevel=2)


def in_turn(frequencies: Sequence[Any], where: str) -> list[PlayerPlan]:
    """Return when each optimizer plays: so many batches in a row, one optimizer after another.

    Args:
        frequencies: how many batches each plays in a row; None for all optimizers has every one play at every batch.
        where: the method, for the message.

    Raises:
        ConfigurationError: one is no int of at least 1, or only some optimizers have one.
    """
    if all(n is None for n in frequencies):
        return [PlayerPlan() for _ in frequencies]
    if not all(is_count(n, 1) for n in frequencies):
        raise ConfigurationError(
            f"{where}: frequencies {list(frequencies)}: give 'frequency' for every optimizer or for none, an int >= 1."
        )
    cycle, first = sum(frequencies), 0
    plans: list[PlayerPlan] = []
    for length in frequencies:
        plans.append(PlayerPlan(turn=(first, length, cycle)))
        first += length
    return plans
