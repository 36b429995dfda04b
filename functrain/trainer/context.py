"""What a module sees of whatever runs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from functrain.kernel.state import Clock


class Context(NamedTuple):
    """What `module.global_step`, `module.current_epoch` and `module.log` look at: a run's, a trace's, a pure step's.

    Attributes:
        clock: returns the position.
        log: takes what `self.log` is given, by the arguments of `Metrics.log`.
    """

    clock: Callable[[], Clock]
    log: Callable[..., None]

    def silenced(self) -> Context:
        """Return the same, but nothing is logged."""
        return self._replace(log=ignore)


def ignore(*args: object) -> None:
    """Drop what is logged."""


def first_position() -> Clock:
    """Return the position before anything has been trained."""
    return START


START = Clock()
ALONE = Context(first_position, ignore)
"""Where nobody runs the module."""
