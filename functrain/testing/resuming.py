"""Is all that a step depends on in its checkpoint?"""

from __future__ import annotations

import os
from tempfile import TemporaryDirectory
from typing import Any

from functrain.testing.tools import tools_of
from functrain.testing.values import first_difference
from functrain.testing.verdict import broken, nothing

LAW = "check_resume"
CAUSE = (
    "something that the step depends on is in no checkpoint: a counter or a cache among the module's attributes (keep "
    "it in a buffer, or compute it from global_step), or a hook of checkpoints that changes what it gets"
)


def check_resume(module: Any, batch: Any, *, updates: int = 3, seed: int = 0, **flags: Any) -> None:
    """A run whose state is written to a file and loaded again after each batch ends with the bits of one that is not
    disturbed: parameters, variables, and what the optimizers keep.

    Every second batch ends an epoch. The files are written to a temporary folder.

    Args:
        updates: so many updates are made.
    """
    tools = tools_of(module)
    if updates < 1:
        raise ValueError(f"{LAW}(updates={updates!r}): must be at least 1.")
    step = tools.functional(module, flags)
    state = step.init(seed=seed)
    first = tools.arrays(state)
    with TemporaryDirectory(prefix="functrain_") as folder:
        resumed = tools.reloaded(step, state, os.path.join(folder, "0.ckpt"))
        made = 0
        number = 0
        while made < updates:
            number += 1
            last = number % 2 == 0
            state, report = step.step(state, batch, last=last)
            resumed, _ = step.step(resumed, batch, last=last)
            made += bool(report.closed)
            now = tools.arrays(state, whole=True)
            difference = first_difference(now, tools.arrays(resumed, whole=True))
            if difference is not None:
                where = f"update {made} after the state was saved and loaded gives other bits (batch {number})"
                broken(LAW, f"{where}: first in {difference}", CAUSE)
            resumed = tools.reloaded(step, resumed, os.path.join(folder, f"{number}.ckpt"))
            difference = first_difference(now, tools.arrays(resumed, whole=True))
            if difference is not None:
                where = f"the state after update {made} is another once it was saved and loaded (batch {number})"
                broken(LAW, f"{where}: first in {difference}", CAUSE)
    if first_difference(first, tools.arrays(state)) is None:
        nothing(LAW, f"{made} updates have changed nothing; did the step return a loss for this batch?")
