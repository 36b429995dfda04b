"""Is a step a function of its state and its batch?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from functrain.kernel.state import TrainState
from functrain.seed import rng_state
from functrain.testing.tools import Tools, tools_of
from functrain.testing.updates import in_turn
from functrain.testing.values import number
from functrain.testing.verdict import broken, same_bits
from functrain.trainer.functional import Step, StepReport

LAW = "check_pure"
DRAWN = {
    "python": "numbers of Python's random",
    "numpy": "numbers of np.random",
}
KEPT = (
    "a counter, a list, a cache or a generator of one's own in the step; keep it in a buffer or a variable, log it, or "
    "return it"
)
OUTSIDE = "something outside of the state takes part: a global variable, the time, or a nondeterministic operator"


def check_pure(module: Any, batch: Any, *, seed: int = 0, **flags: Any) -> None:
    """The same state and batch give the same bits twice: what is reported, and all that the new state holds. A step
    leaves the old state, the global generators and the attributes of the module as they were.

    The batch is taken until every optimizer has made an update, and once more as the last one of its epoch.
    """
    tools = tools_of(module)
    step = tools.functional(module, flags)
    in_turn(lambda state, last: _check_step(tools, step, module, state, batch, last), step.init(seed=seed))


def _check_step(
    tools: Tools, step: Step, module: Any, state: Any, batch: Any, last: bool
) -> tuple[TrainState, StepReport]:
    before, attributes, drawn = tools.arrays(state, whole=True), tools.attributes(module, state), rng_state()
    given = _of_batch(tools, batch)
    once, report = step.step(state, batch, last=last)
    _check_generators(drawn)
    _check_attributes(attributes, tools.attributes(module, once))
    in_place = "an operation in place on what the batch holds (mul_, +=); compute new arrays"
    same_bits(LAW, "the step has written into its batch", given, _of_batch(tools, batch), in_place)
    now = tools.arrays(state, whole=True)
    same_bits(LAW, "the step has written into the old state", before, now, "arrays that are shared by two states")
    twice, again = step.step(state, batch, last=last)
    what = "the same step twice gives other bits"
    same_bits(LAW, what, _told(report), _told(again), OUTSIDE)
    same_bits(LAW, what, tools.arrays(once, whole=True), tools.arrays(twice, whole=True), OUTSIDE)
    return once, report


def _check_generators(before: Mapping[str, Any]) -> None:
    for name, now in rng_state().items():
        if now != before[name]:
            numbers = DRAWN.get(name, "random numbers of a global generator")
            cause = f"{numbers} within the step: draw them in the data, or by the framework's own keys"
            broken(LAW, f"the step has moved the global generator of {name}", cause)


def _check_attributes(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    for name in sorted({*before, *after}):
        if name not in before:
            broken(LAW, f"the step has set a new attribute, {name}, to {after[name]!r:.60}", KEPT)
        if name not in after:
            broken(LAW, f"the step has deleted the attribute {name}", KEPT)
        if before[name] != after[name]:
            path, old, new = _apart(name, before[name], after[name])
            broken(LAW, f"the step has changed {path} from {old!r:.60} to {new!r:.60}", KEPT)


def _apart(path: str, old: Any, new: Any) -> tuple[str, Any, Any]:
    """Go into mappings and objects to what differs in them."""
    while isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        key = next(key for key in old if old[key] != new[key])
        path, old, new = f"{path}.{key}", old[key], new[key]
    return path, old, new


def _of_batch(tools: Tools, batch: Any) -> dict[str, np.ndarray]:
    """Return copies of the arrays of a batch, by number."""
    return {f"array {i} of it": array.copy() for i, array in enumerate(tools.taken_apart(batch)[0])}


def _told(report: StepReport) -> dict[str, np.ndarray]:
    """Return what a report tells, by name."""
    losses = {
        f"the loss of optimizer {i}" if len(report.updates) > 1 else "the loss": update.loss_sum
        for i, update in enumerate(report.updates)
        if update is not None
    }
    told = {**losses, **{f"what is logged as {name!r}": value for name, value in report.logged.items()}}
    return {name: number(value) for name, value in told.items()}
