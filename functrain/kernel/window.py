"""Which micro-batches make one update: grouping, the shorter last window, a size by epoch. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def grouped(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Windows of `size` items in order; the last one holds what is left."""
    if size < 1:
        raise ValueError(f"window size {size!r}: must be >= 1.")
    iterator = iter(items)
    while window := list(islice(iterator, size)):
        yield window


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


class Schedule:
    """A window size for each epoch: from epoch `key` on (counted from 0) a window has `value` micro-batches.

    `Schedule({5: 3, 10: 20})` is 1 before epoch 5, then 3, and 20 from epoch 10 on. An int holds always.
    """

    __slots__ = ("_starts",)

    def __init__(self, spec: int | Mapping[int, int]) -> None:
        starts = {0: spec} if isinstance(spec, int) else dict(spec)
        for epoch, size in starts.items():
            if not _is_count(epoch, 0):
                raise ValueError(f"accumulation schedule {spec!r}: epoch {epoch!r} must be an int >= 0.")
            if not _is_count(size, 1):
                raise ValueError(f"accumulation schedule {spec!r}: {size!r} batches an update must be an int >= 1.")
        starts.setdefault(0, 1)
        self._starts: tuple[tuple[int, int], ...] = tuple(sorted(starts.items(), reverse=True))

    def at(self, epoch: int) -> int:
        """Return the window size in this epoch."""
        for start, size in self._starts:
            if epoch >= start:
                return size
        raise ValueError(f"epoch {epoch!r}: must be >= 0.")

    @property
    def starts(self) -> tuple[tuple[int, int], ...]:
        """(epoch, window size from there on), the latest first."""
        return self._starts

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schedule) and self._starts == other._starts

    def __hash__(self) -> int:
        return hash(self._starts)

    def __repr__(self) -> str:
        return f"Schedule({dict(sorted(self._starts))})"
