"""Does the loss begin where it should, and does it fall?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from functrain.testing.tools import tools_of
from functrain.testing.updates import Update, updated
from functrain.testing.verdict import broken
from functrain.testing.windows import check_automatic


def check_loss_at_init(
    module: Any, batch: Any, expected: float, *, rtol: float = 0.2, optimizer: int = 0, seed: int = 0, **flags: Any
) -> None:
    """The first loss is near what a network that knows nothing has, such as log(classes)."""
    law = "check_loss_at_init"
    check_automatic(law, module, flags)
    step = tools_of(module).functional(module, flags)
    loss = _loss(updated(law, step, step.init(seed=seed), batch, optimizer)[1], optimizer)
    if not abs(loss - expected) <= rtol * abs(expected):
        where = f"the first loss is {loss:.6g}, not {expected:.6g} within {rtol:.0%}"
        cause = "a last layer that begins too large, softmax twice, or a sum in place of a mean"
        broken(law, where, cause)


def check_overfits(
    module: Any,
    batch: Any,
    *,
    updates: int = 100,
    factor: float = 0.1,
    optimizer: int = 0,
    seed: int = 0,
    **flags: Any,
) -> None:
    """One batch is learned: within this many updates its loss falls to `factor` of the first."""
    law = "check_overfits"
    check_automatic(law, module, flags)
    step = tools_of(module).functional(module, flags)
    state = step.init(seed=seed)
    first = last = float("nan")
    for update in range(updates + 1):
        state, made = updated(law, step, state, batch, optimizer)
        last = _loss(made, optimizer)
        first = last if update == 0 else first
        if not np.isfinite(last):
            broken(law, f"the loss of update {update + 1} is {last}", "a learning rate that is too high")
        if update and last <= factor * first:
            return
    where = f"after {updates} updates of one batch the loss is {last:.6g}; it began at {first:.6g}"
    cause = "inputs and targets that do not belong together, a part that no optimizer moves, or a learning rate too low"
    broken(law, where, cause)


def _loss(made: Sequence[Update | None], optimizer: int) -> float:
    update = made[optimizer]
    assert update is not None
    return update.loss
