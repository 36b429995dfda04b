"""Which adapter runs a module: asked of those that have registered, the latest first. Knows no framework."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from functrain.trainer.adapter import Adapter
from functrain.trainer.flags import Flags
from functrain.trainer.run import Run

Claims: TypeAlias = Callable[[Any, Flags], bool]
Make: TypeAlias = Callable[[Any, Run], Adapter]

_registered: list[tuple[Claims, Make]] = []


def register(claims: Claims, make: Make) -> None:
    """Have `make(module, run)` be called for the modules of which `claims(module, flags)` is true.

    An adapter does so when its package is imported, so whoever defines a module of its kind has it registered.
    """
    _registered.append((claims, make))


def find(module: Any, flags: Flags) -> Make | None:
    """Return what makes the adapter of this module under these flags; None where no adapter knows it."""
    return next((make for claims, make in reversed(_registered) if claims(module, flags)), None)
