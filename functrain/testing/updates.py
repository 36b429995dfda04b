"""Updates of one batch, which comes again until a window closes; no epoch ends, so that what is due there is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from functrain.testing.values import number
from functrain.testing.verdict import nothing
from functrain.testing.windows import PLACES
from functrain.trainer.functional import Step, StepReport

MOST = 1024
"""So often the batch comes again."""


class Update(NamedTuple):
    """What one optimizer's update tells.

    Attributes:
        loss: the mean over those of a batch that is cut along time.
        finite: none of them was skipped.
    """

    loss: float
    finite: bool


def made(report: StepReport) -> list[Update | None]:
    """Return what each optimizer's update tells; None where it made none."""
    return [None if update is None or not number(update.weight).any() else _read(update) for update in report.updates]


def _read(update: Any) -> Update:
    return Update(float(number(update.loss).mean()), bool(np.all(number(update.finite))))


def in_turn(take: Callable[[Any, bool], tuple[Any, StepReport]], state: Any) -> Any:
    """Take steps until every optimizer has made an update, and one more as the last of its epoch. Returns the state.

    Args:
        take: of a state, and whether the epoch ends with it.
    """
    waiting = set(range(len(state.players)))
    for _ in range(PLACES):
        state, report = take(state, False)
        waiting -= {i for i, update in enumerate(made(report)) if update is not None}
        if not waiting:
            break
    return take(state, True)[0]


def updated(
    law: str, step: Step, state: Any, batch: Any, optimizer: int | None = None
) -> tuple[Any, list[Update | None]]:
    """Take the batch until a window closes: any, or that of one optimizer.

    Raises:
        NothingToCheck: none does.
    """
    for _ in range(MOST):
        state, report = step.step(state, batch)
        updates = made(report)
        has_updated = bool(report.closed) and (optimizer is None or updates[optimizer] is not None)
        if has_updated:
            return state, updates
    which = "no optimizer" if optimizer is None else f"optimizer {optimizer}"
    nothing(law, f"{which} makes an update within {MOST} batches; does the step return a loss?")
