"""Who wrote a checkpoint: the run, the fit within that run, and how far it was. Holds locks in directories of files.

A run is the chain of fits that led to a state: each fit has an id of its own, and one that continues from a checkpoint
knows the ids of those before it, with the step at which it went on from them. What such a fit wrote later than that
belongs to another branch.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeGuard

from functrain import claims, files
from functrain.claims import Claim
from functrain.trainer.narrow import is_mapping

MOST_KILLED = 100
_ID = re.compile(r"[0-9a-f]{32}")


class Mark(NamedTuple):
    """What a checkpoint says of its writer, readable without reading the checkpoint.

    Attributes:
        run: the id that all fits of a run share, whoever continues it.
        fit: the id of the very fit.
        step: updates since the start of training.
        by: the key of the callback that saved it; "" where it was somebody else.
    """

    run: str
    fit: str
    step: int
    by: str = ""


class Identity:
    """The ids of one fit, and of those that it continues.

    Attributes:
        run: the id of the run: a new one, or that of the checkpoint that is continued from.
        fit: the id of this fit, always a new one: a checkpoint may be continued from twice at once.
        past: the fits before this one: id -> the step at which this run left it.
        killed: the fits of this run that were killed, as far as directories that it holds tell: they left their locks.
        source: the path of the checkpoint that is continued from; "" where there is none.
        by: the key of the callback that is saving at this moment; "" where none is.
    """

    def __init__(self) -> None:
        self.run = secrets.token_hex(16)
        self.fit = secrets.token_hex(16)
        self.past: dict[str, int] = {}
        self.killed: set[str] = set()
        self.source = self.by = ""
        self._held: dict[str, Claim | None] = {}

    def state(self, step: int) -> dict[str, Any]:
        """Return what a checkpoint at this step keeps: its mark, and the past."""
        return {"run": self.run, "fit": self.fit, "step": step, "by": self.by, "past": dict(self.past)}

    def continue_from(self, about: Any, path: str) -> None:
        """Go on as the run of the checkpoint at `path`, that says this of itself.

        One without ids, of an older version, begins a new run.
        """
        self.source = path
        mark = mark_of(about)
        if mark is None:
            return
        before = about.get("past")
        items = before.items() if is_mapping(before) else ()
        past = {fit: step for fit, step in items if _is_id(fit) and _is_step(step)}
        self.run, self.past = mark.run, {**past, mark.fit: mark.step}

    @contextmanager
    def saving(self, by: str) -> Generator[None]:
        """What is saved in the block is saved by the callback of this key, an id."""
        self.by = by
        try:
            yield
        finally:
            self.by = ""

    def wrote(self, mark: Mark | None) -> bool:
        """Return whether this very fit wrote what is marked so."""
        return mark is not None and mark.fit == self.fit

    def led_here(self, mark: Mark | None) -> bool:
        """Return whether what is marked so is a state that this fit went through before it began."""
        return mark is not None and mark.step <= self.past.get(mark.fit, -1)

    def hold(self, directory: str) -> bool:
        """Return whether this is the one living process that counts files of the run in a directory as its own.

        The first to ask is, until `release` or the process' end. Others leave those files alone.
        """
        if directory not in self._held:
            claim = self._held[directory] = claims.claim(files.join(directory, self.run))
            if claim is not None:
                self.killed |= {fit for fit in (claim.found or b"").decode("ascii", "replace").split() if _is_id(fit)}
                claim.note(" ".join([*sorted(self.killed)[-MOST_KILLED:], self.fit]).encode("ascii"))
        return self._held[directory] is not None

    def release(self) -> None:
        """The fit is over."""
        while self._held:
            claim = self._held.popitem()[1]
            if claim is not None:
                claim.release()


def mark_of(about: Any) -> Mark | None:
    """Return the mark in what a checkpoint says of itself; None where there is no whole one."""
    if not is_mapping(about):
        return None
    run, fit, step = about.get("run"), about.get("fit"), about.get("step")
    by = about.get("by", "")
    by_a_callback = by != ""
    if by_a_callback and not _is_id(by):
        return None
    return Mark(run, fit, step, by) if _is_id(run) and _is_id(fit) and _is_step(step) else None


def encoded(mark: Mark) -> bytes:
    """Return a mark as a line of JSON."""
    return json.dumps({"functrain": mark._asdict()}).encode("ascii")


def decoded(content: bytes) -> Mark | None:
    """Return the inverse of `encoded`; None for anything else."""
    try:
        return mark_of(json.loads(content)["functrain"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return None


def _is_id(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def _is_step(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
