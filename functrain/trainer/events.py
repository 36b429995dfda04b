"""What happens between dispatches: an event, a place among the events as a checkpoint keeps it, and what callbacks are
told of the moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from functrain.kernel.plan import passed
from functrain.kernel.state import Clock
from functrain.trainer.errors import CheckpointError

Loop = TypeVar("Loop")


class Event(NamedTuple, Generic[Loop]):
    """One thing that happens in a loop.

    Attributes:
        name: what a checkpoint keeps; no other event of its kind has it.
        act: is given the loop and the kind; where it returns False, this event and those after it stay undone.
    """

    name: str
    act: Callable[[Loop, str], bool | None]


Table = Mapping[str, tuple[Event[Loop], ...]]
"""The events of each kind, in order."""

Position = tuple[str, int]
"""The kind of events, and how many of them are done."""

DONE = "done"

# Format 1 kept numbers. What they were then, whatever is added since; an epoch's end had other events first.
FORMAT_1: dict[str, tuple[tuple[str, str], ...]] = {
    "start": (
        ("start", "begin_epoch"), ("start", "on_epoch_start"), ("start", "on_train_epoch_start"), ("start", "open"),
        ("start", DONE),
    ),
    "batch": (
        ("batch", "on_batch_end"), ("batch", "log"), ("batch", "validate"), ("batch", "on_validation_end"),
        ("batch", "checkpoint"), ("batch", "stop"), ("batch", DONE),
    ),
    "end": (
        ("end", "log"), ("end", "validate"), ("end", "on_validation_end"), ("end", "checkpoint"), ("end", "stop"),
        ("end", DONE),
    ),
    "epoch": (
        ("end", "validate"), ("end", "validate"), ("end", "on_validation_end"), ("epoch", "training_epoch_end"),
        ("epoch", "on_train_epoch_end"), ("epoch", "on_epoch_end"), ("epoch", "publish"), ("epoch", "step_schedulers"),
        ("epoch", "checkpoint"), ("epoch", "stop"), ("epoch", DONE),
    ),
}  # fmt: skip


def named(table: Table[Any], position: Position) -> list[str]:
    """Return a position as a checkpoint keeps it: the kind, and the name of the event that comes next."""
    kind, done = position
    return [kind, _names(table, kind)[done]]


def numbered(table: Table[Any], saved: Any) -> Position:
    """Take `named` back, or what format 1 wrote.

    Raises:
        CheckpointError: there is no such place; says what it was.
    """
    kind, event = saved
    if isinstance(event, int) and isinstance(kind, str):
        known = FORMAT_1.get(kind, ())
        if not 0 <= event < len(known):
            raise CheckpointError(
                f"its place is number {event!r} of {kind!r}, which format 1 did not have; was it changed after it was "
                "written?"
            )
        kind, event = known[event]
    is_unknown = not isinstance(kind, str) or kind not in table or event not in _names(table, kind)
    if is_unknown:
        raise CheckpointError(
            f"its place is before {event!r} of {kind!r}, an event that this version does not know; was it changed "
            "after it was written?"
        )
    return kind, _names(table, kind).index(event)


def _names(table: Table[Any], kind: str) -> tuple[str, ...]:
    return (*(event.name for event in table[kind]), DONE)


def turned_before(saved: Any) -> bool:
    """Return whether the position was taken in format 1, after the clock had turned and before the last events of its
    epoch."""
    return saved[0] == "epoch" and saved[1] in (8, 9)


class Moment(str):
    """When a callback acts at one of the Trainer's own events: the kind as a string, and where the run was.

    Attributes:
        before: the position when the last dispatch of batches began.
        now: the position.
    """

    __slots__ = ("before", "now")

    before: Clock
    now: Clock

    def __new__(cls, kind: str, before: Clock, now: Clock) -> Moment:
        """Return a moment of this kind."""
        moment = super().__new__(cls, kind)
        moment.before, moment.now = before, now
        return moment

    @property
    def kind(self) -> str:
        """'observe', 'steps', 'validation', 'epoch', 'tick' or 'interrupt'."""
        return str(self)

    def passed(self, every: int) -> bool:
        """Return whether a multiple of so many updates has been reached since the last dispatch began."""
        return passed(every, self.before.update, self.now.update)

    def __reduce__(self) -> tuple[Any, ...]:
        return Moment, (str(self), self.before, self.now)
