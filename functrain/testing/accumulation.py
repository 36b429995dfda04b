"""Do micro-batches add up to the batch?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from functrain.testing.batches import cut
from functrain.testing.distance import draws, tolerance
from functrain.testing.tools import Tools, tools_of
from functrain.testing.verdict import OverBatch, broken, nothing
from functrain.testing.windows import Opened, Window, named, opened, uncut
from functrain.trainer.functional import Step

LAW = "check_accumulation"
OVER_SAMPLES = (
    "a norm, a softmax or a loss over several samples at once (pairs, ranks, a contrast), which a part does not see"
)


def check_accumulation(
    module: Any,
    batch: Any,
    *,
    k: int = 2,
    sizes: Sequence[int] | None = None,
    rtol: float | None = None,
    seed: int = 0,
    **flags: Any,
) -> None:
    """So many micro-batches give the gradient of the whole batch, of which an optimizer makes the same update.

    Where they do not, the error tells apart what numbers of the whole batch within the step do (BatchNorm), a loss that
    is no mean, and a weight that was not returned.

    Args:
        k: micro-batches, of as many samples each; what is left over is left out.
        sizes: of the micro-batches, in place of `k`. With unequal ones, or where a loss is a mean over fewer than all
            samples, a step must return its loss's 'weight'.
        rtol: how far the gradient of a parameter may be off, as a part of the largest number in it; default: 1e-3, and
            0.05 at a lower precision.
    """
    rtol = tolerance(rtol, flags)
    tools = tools_of(module)
    module, kept = uncut(LAW, module, flags)
    batch, parts, lengths = cut(LAW, tools, batch, k, sizes)
    step = tools.functional(module, kept)
    start = step.init(seed=seed)
    whole, many = opened(tools, step, start, [batch]), opened(tools, step, start, parts)
    looked = 0
    for i, (one, sum_) in enumerate(zip(whole.windows, many.windows, strict=True)):
        if one is None and sum_ is None:
            continue
        if one is None or sum_ is None:
            nothing(LAW, f"optimizer {i} learns from the batch or from its parts alone: the step returned no loss")
        if any(grad is not None and grad.any() for grad in one.grads.values()):
            looked += 1
            path, error = furthest(one.grads, sum_.grads)
            if not error <= rtol:
                _explain(tools, module, flags, step, seed, batch, parts, lengths, whole, i, path, error, rtol)
    if not looked:
        nothing(LAW, "no parameter has a gradient that is not zero")


def furthest(one: Mapping[str, np.ndarray | None], other: Mapping[str, np.ndarray | None]) -> tuple[str, float]:
    """Return the path whose gradients are the furthest apart, and how far, as a part of their largest number."""
    largest = max((_size(grad) for grads in (one, other) for grad in grads.values()), default=0.0)

    def apart(path: str) -> float:
        a, b = one[path], other[path]
        error = _size(a - b) if a is not None and b is not None else max(_size(a), _size(b))
        # What is zero but for rounding is compared with the gradients of the others.
        return error / max(_size(a), 1e-2 * largest, 1e-300)

    path = max(one, key=lambda path: (np.isnan(apart(path)), apart(path)))
    return path, apart(path)


def _size(grad: np.ndarray | None) -> float:
    return 0.0 if grad is None or not grad.size else float(np.abs(grad).max())


def _explain(
    tools: Tools, module: Any, flags: Mapping[str, Any], step: Step, seed: int, batch: Any, parts: Sequence[Any],
    lengths: Sequence[int], whole: Opened, window: int, path: str, error: float, rtol: float,
) -> NoReturn:  # fmt: skip
    one = whole.windows[window]
    assert one is not None
    start = step.init(seed=seed)
    if draws(LAW, tools, module, batch, seed, flags):
        nothing(
            LAW,
            "another pass over the very batch has another gradient (random numbers, or what a pass leaves behind), so "
            "its parts say nothing: check it without dropout",
        )
    alone = [opened(tools, step, start, [part]) for part in parts]
    where = (
        f"{named(window, len(whole.windows))}the gradient of {path} {_shape(one, path)} over {len(parts)} "
        f"micro-batches of {_listed(lengths)} samples is off by {error:.2g} of that of all {sum(lengths)}"
    )
    windows = [each.windows[window] for each in alone]
    found = [each for each in windows if each is not None]
    counts = _counts(one, found) if len(found) == len(parts) else None
    if counts is None or counts[1] > max(rtol, 1e-6) * 3:
        cause = _statistics(tools, start, whole, alone[0])
        if cause is not None:
            raise OverBatch(f"{LAW}: {where}. The cause: {cause}")
        broken(LAW, where, OVER_SAMPLES)
    shares, total = counts[0], float(sum(counts[0]))
    if abs(total - 1) > 1e-2:
        cause = (
            f"a loss that is no mean, but a sum or divided by a constant: that of the batch is {total:.3g} times the "
            "mean of its micro-batches'; return a mean, with its 'weight' where it is not one over all samples"
        )
        broken(LAW, where, cause)
    said = [each.weight / sum(each.weight for each in found) for each in found]
    cause = (
        f"a weight that was forgotten: the micro-batches are {_listed(shares, '.3f')} of the batch, and by their "
        f"'weight' {_listed(said, '.3f')}; return {{'loss': loss, 'weight': n}}, with the number n of samples or "
        "tokens that the loss is a mean of"
    )
    broken(LAW, where, cause)


def _counts(whole: Window, parts: Sequence[Window]) -> tuple[list[float], float] | None:
    """Return how much of each part's gradient is in that of the whole, and what of it none of them explains."""
    paths = [path for path, grad in whole.grads.items() if grad is not None]

    def flat(window: Window) -> np.ndarray:
        grads = [(path, window.grads[path]) for path in paths]
        zeros = [np.zeros_like(whole.grads[path]) if grad is None else grad for path, grad in grads]
        return np.concatenate([np.asarray(grad, np.float64).reshape(-1) for grad in zeros])

    given, columns = flat(whole), np.stack([flat(part) for part in parts], 1)
    if not (np.isfinite(given).all() and np.isfinite(columns).all()):
        return None
    shares = np.linalg.lstsq(columns, given, rcond=None)[0]
    left = float(np.linalg.norm(columns @ shares - given) / np.linalg.norm(given))
    return [float(share) for share in shares], left


def _statistics(tools: Tools, start: Any, whole: Opened, part: Opened) -> str | None:
    """Return words for what of the step depends on all samples at once: variables that it left otherwise;
    None where there are none."""
    before, after, other = (tools.arrays(state) for state in (start, whole.state, part.state))
    moved = [path for path, array in after.items() if array.tobytes() != before[path].tobytes()]
    apart = [path for path in moved if path in other and other[path].tobytes() != after[path].tobytes()]
    if apart:
        return (
            f"BatchNorm, or another normalisation over the batch: {_listed(apart[:3])} "
            f"{'is' if len(apart) == 1 else 'are'} of the samples that a pass sees; take GroupNorm or LayerNorm, "
            "or put it into evaluation mode"
        )
    return None


def _shape(window: Window, path: str) -> str:
    grad = window.grads[path]
    return "" if grad is None else str(grad.shape)


def _listed(items: Sequence[Any], form: str = "") -> str:
    words = [format(item, form) for item in items]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
