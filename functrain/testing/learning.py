"""Does the loss begin where it should, and does it fall?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from functrain.testing.tools import tools_of
from functrain.testing.updates import Update, updated
from functrain.testing.verdict import broken, nothing
from functrain.testing.windows import check_automatic


def check_loss_at_init(
    module: Any, batch: Any, expected: float, *, rtol: float = 0.2, optimizer: int = 0, seed: int = 0, **flags: Any
) -> None:
    """The first loss is near what a network that knows nothing has, such as log(classes)."""
    law = "check_loss_at_init"
    check_automatic(law, module, flags)
    step = tools_of(module).functional(module, flags)
    state = step.init(seed=seed)
    _check_optimizer(law, state, optimizer)
    loss = _loss(updated(law, step, state, batch, optimizer)[1], optimizer)
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
    if updates < 1:
        raise ValueError(f"{law}(updates={updates!r}): must be at least 1.")
    if not 0 < factor < 1:
        raise ValueError(f"{law}(factor={factor!r}): must be above 0 and below 1, the part of the first loss.")
    check_automatic(law, module, flags)
    tools = tools_of(module)
    step = tools.functional(module, flags)
    state = step.init(seed=seed)
    _check_optimizer(law, state, optimizer)
    begun = tools.arrays(state)
    first = last = float("nan")
    for update in range(updates + 1):
        state, made = updated(law, step, state, batch, optimizer)
        last = _loss(made, optimizer)
        first = last if update == 0 else first
        if not np.isfinite(last):
            broken(law, f"the loss of update {update + 1} is {last}", "a learning rate that is too high")
        if first <= 0:
            nothing(law, f"the loss begins at {first:.6g}, of which a part is no goal: check one that is above 0")
        if update and last <= factor * first:
            return
    where = f"after {updates} updates of one batch the loss is {last:.6g}; it began at {first:.6g}"
    if last > first:
        broken(law, where, "a learning rate that is too high, a loss with the wrong sign, or labels drawn in each step")
    still = [path for path, array in tools.arrays(state).items() if array.tobytes() == begun[path].tobytes()]
    stays = f", and {', '.join(still[:3])} {'has' if len(still) == 1 else 'have'} not moved" if still else ""
    broken(
        law,
        f"{where}{stays}",
        "inputs and targets that do not belong together (labels out of order, shapes that are broadcast), a part that "
        "no optimizer moves, softmax twice, or a learning rate too low",
    )


def _check_optimizer(law: str, state: Any, optimizer: int) -> None:
    if optimizer not in range(len(state.players)):
        raise ValueError(f"{law}(optimizer={optimizer!r}): there are {len(state.players)}, counted from 0.")


def _loss(made: Sequence[Update | None], optimizer: int) -> float:
    update = made[optimizer]
    assert update is not None
    return update.loss
