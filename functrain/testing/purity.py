"""Is a step a function of its state and its batch?"""

from __future__ import annotations

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
    once, report = step.step(state, batch, last=last)
    after = tools.attributes(module, once)
    for name, now in rng_state().items():
        if now != drawn[name]:
            numbers = DRAWN.get(name, "random numbers of a global generator")
            cause = f"{numbers} within the step: draw them in the data, or by the framework's own keys"
            broken(LAW, f"the step has moved the global generator of {name}", cause)
    for name in sorted({*attributes, *after}):
        if attributes.get(name) != after.get(name):
            where = f"the step has changed {name} from {attributes.get(name)!r:.60} to {after.get(name)!r:.60}"
            broken(LAW, where, "a counter, a list or a cache in the step; keep it in a buffer, or log it")
    now = tools.arrays(state, whole=True)
    same_bits(LAW, "the step has written into the old state", before, now, "arrays that are shared by two states")
    twice, again = step.step(state, batch, last=last)
    what = "the same step twice gives other bits"
    same_bits(LAW, what, _told(report), _told(again), OUTSIDE)
    same_bits(LAW, what, tools.arrays(once, whole=True), tools.arrays(twice, whole=True), OUTSIDE)
    return once, report


def _told(report: StepReport) -> dict[str, np.ndarray]:
    """Return what a report tells, by name."""
    losses = {
        f"the loss of optimizer {i}" if len(report.updates) > 1 else "the loss": update.loss_sum
        for i, update in enumerate(report.updates)
        if update is not None
    }
    told = {**losses, **{f"what is logged as {name!r}": value for name, value in report.logged.items()}}
    return {name: number(value) for name, value in told.items()}
