"""Python calls and frames of ours, counted: the figures repeat exactly, where times do not."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

PACKAGES = ("functrain", "functrain_torch", "functrain_jax")
FOLDERS = tuple(f"{Path(spec.origin or '').parent}/" for name in PACKAGES if (spec := find_spec(name)))


def ours(frame: FrameType) -> bool:
    """Is it a function of our packages?"""
    return frame.f_code.co_filename.startswith(FOLDERS)


def name_of(frame: FrameType) -> str:
    """File and function."""
    return f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_qualname}"


def frames_above(frame: FrameType | None) -> list[str]:
    """The functions of ours that lead to this frame, the innermost first."""
    names: list[str] = []
    while frame is not None:
        if ours(frame):
            names.append(name_of(frame))
        frame = frame.f_back
    return names


class Calls:
    """Calls of our functions, by function, from `start` to `stop`."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def start(self) -> None:
        sys.setprofile(self._profile)

    def stop(self) -> None:
        sys.setprofile(None)

    def between(self, number: int, first: int, last: int) -> None:
        """Count from number `first` to number `last` of whatever calls this at each of its numbers."""
        if number == first:
            self.start()
        elif number == last:
            self.stop()

    def _profile(self, frame: FrameType, event: str, arg: Any) -> None:
        if event == "call" and ours(frame):
            self.counts[name_of(frame)] += 1


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """The calls of our functions in the block."""
    calls = Calls()
    calls.start()
    try:
        yield calls.counts
    finally:
        calls.stop()
