"""Spans: the parts of a run that a profiler measures, each by its name.

Every call that is measured is wrapped once, when a run starts; without a profiler it is called as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, Protocol, TypeVar

from functrain.trainer.foreign import ActionProfiler

T = TypeVar("T")
Call = TypeVar("Call", bound=Callable[..., Any])


class Span(Protocol):
    """`span(name, call)` returns what is to be called in place of `call`; see `Run.span`."""

    def __call__(self, name: str, call: Call, /) -> Call: ...


def measured(profiler: ActionProfiler | None, name: str, call: Call) -> Call:
    """Return a function that does the same within a span; `call` itself without a profiler."""
    if profiler is None:
        return call

    @wraps(call, updated=())
    def within(*args: Any, **named: Any) -> Any:
        with profiler.profile(name):
            return call(*args, **named)

    return within  # type: ignore[return-value]


def measured_items(profiler: ActionProfiler | None, name: str, items: Iterator[T]) -> Iterator[T]:
    """Return an iterator over the same items, each of which comes within a span; `items` itself without a profiler."""
    return items if profiler is None else _each_measured(profiler, name, items)


def _each_measured(profiler: ActionProfiler, name: str, items: Iterator[T]) -> Iterator[T]:
    missing: Any = object()
    while True:
        with profiler.profile(name):
            item = next(items, missing)
        if item is missing:
            return
        yield item


def unmeasured(name: str, call: Call, /) -> Call:
    """Return the `Span` of what runs without a profiler."""
    return call
