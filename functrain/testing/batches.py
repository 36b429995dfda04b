"""Batches cut into micro-batches, and changed in a part of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from functrain.testing.tools import Tools
from functrain.testing.verdict import nothing


def samples(law: str, arrays: Sequence[np.ndarray], axis: int = 0) -> int:
    """Return the length of the first array along an axis.

    Raises:
        NothingToCheck: none has such an axis.
    """
    length = next((array.shape[axis] for array in arrays if array.ndim > axis), None)
    if length is None:
        nothing(law, f"the batch has no array with an axis {axis}, so there is nothing to cut or to change")
    return length


def sizes_of(law: str, count: int, k: int, sizes: Sequence[int] | None) -> list[int]:
    """Return how many samples each micro-batch gets: all as many, where some may be left over; or the given sizes,
    which are looked at."""
    if sizes is not None:
        impossible = len(sizes) < 2 or min(sizes) < 1 or sum(sizes) != count
        if impossible:
            raise ValueError(f"{law}(sizes={list(sizes)}): give 2 sizes or more that add up to the {count} samples.")
        return list(sizes)
    if k < 2:
        raise ValueError(f"{law}(k={k!r}): must be at least 2.")
    if count < k:
        nothing(law, f"a batch of {count} samples cannot be cut into {k} micro-batches: give a larger one")
    return [count // k] * k


def cut(law: str, tools: Tools, batch: Any, k: int, sizes: Sequence[int] | None) -> tuple[Any, list[Any], list[int]]:
    """Return a batch, its micro-batches, and how many samples each has; the batch without the samples that are left
    over. What has another length than the first array goes into each as it is."""
    arrays, made = tools.taken_apart(batch)
    count = samples(law, arrays)
    sizes = sizes_of(law, count, k, sizes)

    def part(start: int, end: int) -> Any:
        return made([a[start:end] if a.ndim and len(a) == count else a for a in arrays])

    ends = list(accumulate(sizes))
    return part(0, ends[-1]), [part(end - size, end) for size, end in zip(sizes, ends, strict=True)], sizes


def changed(arrays: Sequence[np.ndarray], places: Any, axis: int, length: int, seed: int) -> list[np.ndarray]:
    """Return the arrays with other values at these places of an axis: those of other places, as far as they may be
    labels or ids, with noise where they are numbers."""
    random = np.random.default_rng(seed)
    made: list[np.ndarray] = []
    for array in arrays:
        is_moved = array.ndim > axis and array.shape[axis] == length and array.dtype.kind not in "OUS"
        if is_moved:
            where = (slice(None),) * axis + (places,)
            array = array.copy()
            array[where] = _other(random, array, array[where])
        made.append(array)
    return made


def _other(random: np.random.Generator, array: np.ndarray, part: np.ndarray) -> np.ndarray:
    values = array.reshape(-1)
    if array.dtype.kind in "bui":
        distinct = np.unique(values)
        # The next of the values that are there, so that each is another one.
        places = np.searchsorted(distinct, part)
        return distinct[(places + random.integers(1, max(len(distinct), 2), part.shape)) % len(distinct)]
    wide = np.asarray(values, np.complex128 if array.dtype.kind == "c" else np.float64)
    scale = float(np.nanstd(np.where(np.isfinite(wide), wide, np.nan))) if wide.size else 0.0
    noise = random.normal(size=part.shape) * (scale or 1.0)
    return (np.asarray(part, wide.dtype) + 2 * noise).astype(array.dtype)
