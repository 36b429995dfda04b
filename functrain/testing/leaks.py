"""Is a sample's prediction its own?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from functrain.seed import isolate_rng, seed_generators
from functrain.testing.batches import changed, samples
from functrain.testing.tools import tools_of
from functrain.testing.verdict import broken, nothing
from functrain.trainer.context import ALONE
from functrain.trainer.errors import noted
from functrain.trainer.module import set_context
from functrain.trainer.overriding import overrides
from functrain.trainer.signatures import adapt

LAW = "check_no_leak"
MOST = 8
"""So many samples, or steps, are changed."""

BATCH = (
    "a mean, norm, softmax or sort over axis 0, which is the batch; a reshape that mixes samples; or a normalisation "
    "by the batch's own numbers in evaluation mode too (track_running_stats=False)"
)
OWN = "give a batch as predict_step takes it, and predict numbers, not classes, which stay the same where numbers move"
TIME = "no causal mask, a layer that runs in both directions, a convolution padded on both sides, or a norm over time"


class _Leak(NamedTuple):
    place: int
    by: float
    scale: float


def check_no_leak(
    module: Any,
    batch: Any,
    *,
    predict: Callable[[Any, Any], Any] | None = None,
    time_axis: int | None = None,
    batch_axis: int = 0,
    rtol: float = 1e-5,
    seed: int = 0,
) -> None:
    """What is predicted for a sample, in evaluation mode, does not depend on the other samples of its batch; nor, with
    `time_axis`, on later steps of its sequence.

    Samples and steps are changed, one after another, and the predictions for the others are looked at.

    Args:
        predict: `predict(module, batch)`; default: the module's `predict_step`.
        time_axis: of arrays of the batch and of the predictions, along which later steps are unknown to earlier ones.
        batch_axis: along which the samples are, in both.
        rtol: how far a prediction may move, as a part of the largest.
    """
    tools = tools_of(module)
    arrays, made = tools.taken_apart(batch)
    count = samples(LAW, arrays, batch_axis)
    with isolate_rng(), tools.evaluating(module):
        set_context(module, ALONE)

        def outputs(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
            seed_generators(seed)
            given = made(arrays)
            with noted(lambda: f"{LAW} had changed values of this batch; predict=... may put right what they must be"):
                output = _predicted(module, given) if predict is None else predict(module, given)
            return tools.taken_apart(output)[0]

        if predict is None and not overrides(module, "predict_step"):
            _check_predicts(module, batch)
        if time_axis is None:
            if count < 2:
                nothing(LAW, "the batch has 1 sample, so there are no others: give two or more")
            _check_samples(arrays, outputs, batch_axis, count, rtol, seed)
        else:
            _check_steps(arrays, outputs, time_axis, samples(LAW, arrays, time_axis), rtol, seed)


def _predicted(module: Any, batch: Any) -> Any:
    """What the module predicts for a batch, which goes through its hooks as in a run."""
    for name in ("on_before_batch_transfer", "on_after_batch_transfer"):
        batch = adapt(getattr(module, name), ("batch", "dataloader_idx"), name)(batch, 0)
    step = adapt(module.predict_step, ("batch", "batch_idx", "dataloader_idx"), "predict_step")
    return step(batch, 0, 0)


def _check_predicts(module: Any, batch: Any) -> None:
    """Raises NothingToCheck where the module has no way to predict for such a batch."""
    try:
        _predicted(module, batch)
    except Exception as error:
        name = type(module).__name__
        nothing(
            LAW,
            f"{name} has no predict_step, and in its place forward(batch) fails ({type(error).__name__}): define "
            "predict_step(self, batch, batch_idx), or give predict=lambda module, batch: module(batch[0]) or the like",
        )


Outputs = Callable[[Sequence[np.ndarray]], list[np.ndarray]]


def _check_samples(
    arrays: Sequence[np.ndarray], outputs: Outputs, axis: int, count: int, rtol: float, seed: int
) -> None:
    before = _of_axis(outputs(arrays), axis, count, "samples")
    reacts = False
    for place in _places(0, count):
        after = _of_axis(outputs(changed(arrays, place, axis, count, seed)), axis, count, "samples")
        others = [i for i in range(count) if i != place]
        leak = _leak(before, after, axis, others, rtol)
        if leak is not None:
            where = f"the prediction for sample {leak.place} of {count} depends on sample {place}"
            broken(LAW, f"{where}: it moves by {leak.by:.3g} where the largest is {leak.scale:.3g}", BATCH)
        reacts = reacts or _leak(before, after, axis, [place], 0.0) is not None
    if not reacts:
        nothing(LAW, f"no prediction depends on its own sample; {OWN}")


def _check_steps(arrays: Sequence[np.ndarray], outputs: Outputs, axis: int, count: int, rtol: float, seed: int) -> None:
    if count < 2:
        nothing(LAW, f"the batch has {count} step along axis {axis}, so there are no later ones: give two or more")
    before = _of_axis(outputs(arrays), axis, count, "steps")
    reacts = False
    for place in _places(1, count):
        after = _of_axis(outputs(changed(arrays, slice(place, None), axis, count, seed)), axis, count, "steps")
        leak = _leak(before, after, axis, range(place), rtol)
        if leak is not None:
            where = f"the prediction for step {leak.place} of {count} depends on steps from {place} on"
            broken(LAW, f"{where}: it moves by {leak.by:.3g} where the largest is {leak.scale:.3g}", TIME)
        reacts = reacts or _leak(before, after, axis, range(place, count), 0.0) is not None
    if not reacts:
        nothing(LAW, f"no prediction depends on its own step; {OWN}")


def _places(first: int, count: int) -> list[int]:
    return sorted({int(place) for place in np.linspace(first, count - 1, min(MOST, count - first))})


def _of_axis(outputs: Sequence[np.ndarray], axis: int, count: int, what: str) -> list[np.ndarray]:
    found = [np.moveaxis(a, axis, 0) for a in outputs if a.ndim > axis and a.shape[axis] == count]
    if not found:
        shapes = ", ".join(str(a.shape) for a in outputs) or "none"
        nothing(LAW, f"no prediction has the {count} {what} along axis {axis}; there are arrays of shape {shapes}")
    return found


def _leak(
    before: Sequence[np.ndarray], after: Sequence[np.ndarray], axis: int, places: Sequence[int], rtol: float
) -> _Leak | None:
    """Return the first of these places at which a prediction has moved."""
    leaks: list[_Leak] = []
    for old, new in zip(before, after, strict=True):
        one, two = (np.asarray(a, np.complex128 if a.dtype.kind == "c" else np.float64) for a in (old, new))
        scale = float(np.nanmax(np.abs(np.where(np.isfinite(one), one, 0)), initial=0.0))
        for place in places:
            same = (one[place] == two[place]) | (np.isnan(one[place]) & np.isnan(two[place]))
            apart = np.where(same, 0.0, np.abs(one[place] - two[place]))
            by = float(np.max(apart, initial=0.0))
            if not by <= rtol * scale:
                leaks.append(_Leak(place, by, scale))
                break
    return min(leaks, default=None)
