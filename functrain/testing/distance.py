"""How far the parameters of two runs are apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from functrain.testing.tools import Tools
from functrain.testing.verdict import NothingToCheck
from functrain.testing.windows import opened, uncut


def idle(law: str, tools: Tools, module: Any, batch: Any, seed: int, flags: Mapping[str, Any]) -> set[str]:
    """Return the parameters on which the loss does not depend, as a bias before a normalisation: their gradient is
    rounding, and so is what an optimizer makes of it. None where the module optimizes by hand."""
    try:
        whole, kept = uncut(law, module, flags)
    except NothingToCheck:
        return set()
    step = tools.functional(whole, kept)
    windows = [window for window in opened(tools, step, step.init(seed=seed), [batch]).windows if window is not None]
    sizes = {path: _size(grad) for window in windows for path, grad in window.grads.items() if grad is not None}
    return {path for path, size in sizes.items() if size <= 1e-5 * max(sizes.values())}


def furthest(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> tuple[str, float]:
    """Return the path of the array that is the furthest off, and how far, as a part of its size. What is much smaller
    than the others is measured by them."""
    floats = [path for path, array in one.items() if array.dtype.kind == "f" and array.size]
    typical = _size(np.concatenate([np.asarray(one[path], np.float64).reshape(-1) for path in floats]))

    def apart(path: str) -> float:
        a, b = np.asarray(one[path], np.float64), np.asarray(other[path], np.float64)
        return _size(a - b) / max(_size(a), typical, 1e-300)

    path = max(floats, key=lambda path: (np.isnan(apart(path)), apart(path)))
    return path, apart(path)


def _size(array: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(array))))
