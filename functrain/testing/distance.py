"""How far the parameters of two runs are apart, and whether they can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from functrain.testing.tools import Tools
from functrain.testing.values import first_difference
from functrain.testing.verdict import NothingToCheck
from functrain.testing.windows import Window, opened, uncut
from functrain.trainer.precisions import canonical


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


def tolerance(rtol: float | None, flags: Mapping[str, Any]) -> float:
    """Return the given tolerance, or what rounding needs at the precision of the flags."""
    if rtol is not None:
        return rtol
    return 0.05 if canonical(flags.get("precision", 32)) in ("16", "bf16", "16-true", "bf16-true") else 1e-3


def draws(law: str, tools: Tools, module: Any, batch: Any, seed: int, flags: Mapping[str, Any]) -> bool:
    """Return whether the step has random numbers in it: a second pass over the same batch has another gradient, or
    another seed gives another one; where the module optimizes by hand, other parameters."""
    try:
        whole, kept = uncut(law, module, flags)
    except NothingToCheck:
        step = tools.functional(module, flags)
        one, other = (tools.arrays(step.step(step.init(seed=n), batch, last=True)[0]) for n in (seed, seed + 1))
        return first_difference(one, other) is not None
    step = tools.functional(whole, kept)
    start = step.init(seed=seed)
    once = opened(tools, step, start, [batch]).windows
    others = (
        opened(tools, step, start, [batch, batch]).windows,
        opened(tools, step, step.init(seed=seed + 1), [batch])[1],
    )
    return any(
        a is not None and (b is None or _is_off(a, b)) for windows in others for a, b in zip(once, windows, strict=True)
    )


def _is_off(one: Window, other: Window) -> bool:
    pairs = [(grad, other.grads[path]) for path, grad in one.grads.items() if grad is not None]
    largest = max((_size(grad) for grad, _ in pairs), default=0.0)
    return any(again is None or not _size(grad - again) <= 1e-3 * largest for grad, again in pairs)


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
