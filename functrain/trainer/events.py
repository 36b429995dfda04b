"""What happens between dispatches, in order, and a place among it as a checkpoint keeps it: by name."""

from __future__ import annotations

from typing import Any

# At an epoch's start, after batches, where the loader's end was found behind them, and at the epoch's end. Names of
# methods of the loop or of hooks. The clock turns last: all that happens at an epoch's end sees the epoch that ends.
EVENTS: dict[str, tuple[str, ...]] = {
    "start": ("begin_epoch", "on_epoch_start", "on_train_epoch_start", "open"),
    "batch": ("on_batch_end", "log", "validate", "on_validation_end", "checkpoint", "stop"),
    "end": ("log", "validate", "on_validation_end", "checkpoint", "stop"),
    "epoch": (
        "training_epoch_end", "on_train_epoch_end", "on_epoch_end", "publish", "step_schedulers", "checkpoint", "stop",
        "turn_epoch",
    ),
}  # fmt: skip
DONE = "done"

# An epoch's end in format 1, which kept numbers: what each of them is now.
FORMAT_1 = (
    ("end", "validate"), ("end", "validate"), ("end", "on_validation_end"), ("epoch", "training_epoch_end"),
    ("epoch", "on_train_epoch_end"), ("epoch", "on_epoch_end"), ("epoch", "publish"), ("epoch", "step_schedulers"),
    ("epoch", "checkpoint"), ("epoch", "stop"), ("epoch", DONE),
)  # fmt: skip

Position = tuple[str, int]


def named(position: Position) -> list[str]:
    """A position (kind of events, how many of them are done) as a checkpoint keeps it."""
    kind, done = position
    return [kind, (*EVENTS[kind], DONE)[done]]


def numbered(saved: Any) -> Position:
    """Take `named` back, or what format 1 wrote.

    Raises:
        ValueError, LookupError: there is no such place.
    """
    kind, event = saved
    if isinstance(event, int):
        kind, event = FORMAT_1[event] if kind == "epoch" else (kind, (*EVENTS[kind], DONE)[event])
    return kind, (*EVENTS[kind], DONE).index(event)


def turned_before(saved: Any) -> bool:
    """Was the position taken in format 1, after the clock had turned and before the last events of its epoch?"""
    return saved[0] == "epoch" and saved[1] in (8, 9)
