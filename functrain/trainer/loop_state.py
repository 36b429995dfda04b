"""The loop's part of a checkpoint, looked at before it is put back: each entry is what the loop wrote, or is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import index
from typing import Any, NamedTuple

from functrain.kernel.state import Clock
from functrain.trainer.errors import CheckpointError
from functrain.trainer.narrow import is_mapping, is_sequence


class Field(NamedTuple):
    """What an entry must be: in words, and asked."""

    words: str
    fits: Callable[[Any], bool]
    needed: bool = True


def ends_epoch(loop: Mapping[str, Any]) -> bool:
    """Return whether it was taken among the events of an epoch's end, so that nothing of the epoch is left but the rest
    of them. An epoch that a limit cut short has these events too, and goes on; older checkpoints do not tell."""
    kind, event = loop["position"]
    return loop["in_epoch"] and kind == "epoch" and event != "" and loop.get("over", True)


def count_of(value: Any) -> int | None:
    """Return the value as a count; None where it is none."""
    try:
        number = index(value)
    except TypeError:
        return None
    return number if number >= 0 and not isinstance(value, bool) else None


def _is_count(value: Any) -> bool:
    return count_of(value) is not None


def _is_pair(value: Any) -> bool:
    return is_sequence(value) and len(value) == 2


def _is_list_or_none(value: Any) -> bool:
    return value is None or is_sequence(value)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_source(value: Any) -> bool:
    return is_mapping(value) and "loader_rng" in value and "cursor" in value and _is_cursor(value["cursor"])


KINDS = ("loader", "iterator", "epoch_rng")
"""What a place in a loader is found again by: its own state, its iterator's, or the random state of the beginning."""


def _is_cursor(value: Any) -> bool:
    if value is None or not is_mapping(value) or not _is_count(value.get("seen")):
        return value is None
    return _is_place_in_several(value) if "leaves" in value else any(kind in value for kind in KINDS)


def _is_place_in_several(value: Mapping[str, Any]) -> bool:
    leaves, over = value["leaves"], value.get("over")
    is_whole = is_sequence(leaves) and is_sequence(over) and len(over) == len(leaves) and _is_count(value.get("which"))
    return is_whole and all(_is_leaf(leaf) for leaf in leaves)


def _is_leaf(leaf: Any) -> bool:
    counts = ("start", "number")
    return leaf is None or (
        is_mapping(leaf)
        and _is_cursor(leaf)
        and "leaves" not in leaf
        and "first_rng" in leaf
        and all(_is_count(leaf.get(name)) for name in counts)
    )


def _is_by_name(value: Any) -> bool:
    return is_mapping(value) and all(isinstance(key, str) for key in value)


FLAG = Field("True or False", _is_flag)
COUNT = Field("a count", _is_count)
BY_NAME = Field("a dict by name", _is_by_name)

# What has come in after the first files of a format is not needed.
FIELDS: dict[str, Field] = {
    "position": Field("a pair of names", _is_pair),
    "called": Field("a list", is_sequence),
    "source": Field("a dict with the 'cursor' and the 'loader_rng' of the training loader", _is_source),
    "in_epoch": FLAG,
    "ended": FLAG,
    "should_stop": FLAG,
    "before": COUNT,
    "before_batch": COUNT._replace(needed=False),
    "seen": COUNT._replace(needed=False),
    "outputs": Field("a list, or None", _is_list_or_none),
    "published": BY_NAME,
    "logged": BY_NAME,
    "draws": BY_NAME._replace(needed=False),
    "val_loaders": Field("a list", is_sequence),
}


def check(state: Mapping[str, Any]) -> None:
    """Look at every entry.

    Raises:
        CheckpointError: one is missing, or is no such thing; names it.
    """
    for name, entry in FIELDS.items():
        if name not in state:
            if entry.needed:
                raise CheckpointError(f"its 'loop' has no {name!r}; was it changed after it was written?")
        elif not entry.fits(state[name]):
            raise CheckpointError(
                f"its 'loop' holds {name}={repr(state[name])[:80]} where {entry.words} is needed; was it changed after "
                "it was written?"
            )


def clock(saved: Mapping[str, Any]) -> Clock:
    """Return the position.

    Raises:
        CheckpointError: one of its counts is missing or is none; names it.
    """
    for name in Clock._fields:
        if count_of(saved.get(name)) is None:
            what = f"{name}={saved[name]!r} where a count is needed" if name in saved else f"no {name!r}"
            raise CheckpointError(f"its 'clock' has {what}; was it changed after it was written?")
    return Clock(**{name: index(saved[name]) for name in Clock._fields})
