"""The errors that a run raises on purpose. Each names the offender, its value, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ConfigurationError(ValueError):
    """A flag, a module or a loader that cannot work as it is."""


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be read, or does not fit what it is read into. Names the file."""


class NotFiniteError(RuntimeError):
    """A loss or a parameter became NaN or infinite, and the run was told to stop at that."""


def nearest(name: str, known: Iterable[str]) -> str:
    """' Did you mean ...?' with the known names nearest to this one, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
