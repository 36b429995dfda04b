"""What a ModelCheckpoint takes back from a checkpoint: only what it finds in its own directory, written by its run."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

from functrain.callbacks.checkpoint_place import Found, Place
from functrain.callbacks.checkpoint_records import Records
from functrain.callbacks.state_values import number, scores, text, texts


def taken_back(state: Mapping[str, Any], new: Records, place: Place | None) -> tuple[Records, list[str]]:
    """Return the records in a callback's state, as far as they hold, and the files that a kill kept the run from
    removing.

    Args:
        state: what `ModelCheckpoint.state_dict` returned.
        new: the empty records of the fit that continues.
        place: its directory; None where it saves nothing.
    """
    old = "" if state["dirpath"] is None else text(state, "dirpath")
    kept, replaced = scores(state, "best_k_models"), texts(state, "replaced")
    best, last = text(state, "best_model_path"), text(state, "last_model_path")
    best_score, score = (
        None if state[key] is None else number(state, key) for key in ("best_model_score", "current_score")
    )
    found = {path: _find(path, old, place) for path in (*kept, last, best, *replaced)}
    records = new._replace(
        kept=tuple((found[path].path, value) for path, value in kept.items() if found[path].ours),
        last=found[last].path if found[last].ours else "",
        score=score,
    )
    if best and not found[best].ours:
        records = records._replace(outside=_outside(best, best_score, old, found[best], place))
    foreign = [each.path for each in found.values() if each.there and not each.ours]
    if place is not None and foreign:
        place.warn_of_foreign(foreign)
    left = [found[path].path for path in replaced if found[path].ours]
    return records, [path for path in left if path not in records.paths()]


def _find(path: str, old: str, place: Place | None) -> Found:
    return Found() if place is None else place.find(path, old)


def _outside(best: str, score: float | None, old: str, found: Found, place: Place | None) -> tuple[str, float] | None:
    """Return the best checkpoint of the run that continues, where it is not among the kept; None where it is gone."""
    known = (best, math.nan if score is None else score)
    if found.known:
        return (found.path, known[1])
    if place is None or not found.path or old != place.directory:
        return known
    if not found.there:
        warnings.warn(
            f"ModelCheckpoint: the best checkpoint of the run that continues, {best}, is no longer there; the best "
            "one is now looked for among those to come.",
            UserWarning,
            stacklevel=3,
        )
    return None
