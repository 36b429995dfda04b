"""The verbs that every backend on the host shares: branches and loops are Python's own. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from functrain.kernel.state import Report, Scalar, TrainState


class HostBackend:
    """Base of eager backends; what remains to write of `functrain.kernel.backend.Backend` are its nine verbs over
    arrays: accumulate, reduce, norm, apply, empty, isfinite, select, maximum and copy."""

    def when(
        self, flag: Scalar, f: Callable[[TrainState], tuple[TrainState, Report | None]], state: TrainState
    ) -> tuple[TrainState, Report | None]:
        return f(state) if flag else (state, None)

    def with_last(self, window: Sequence[Any]) -> list[tuple[Any, bool]]:
        last = len(window) - 1
        return [(batch, i == last) for i, batch in enumerate(window)]

    def fold(self, f: Callable[[Any, Any], tuple[Any, Any]], carry: Any, items: Iterable[Any]) -> tuple[Any, Any]:
        beside = None
        for item in items:
            carry, beside = f(carry, item)
        return carry, beside

    def scan(self, f: Callable[[Any, Any], tuple[Any, Any]], carry: Any, items: Iterable[Any]) -> tuple[Any, list[Any]]:
        collected: list[Any] = []
        for item in items:
            carry, beside = f(carry, item)
            collected.append(beside)
        return carry, collected
