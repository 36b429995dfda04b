"""What differs between two worlds on purpose: a table, each row with its reason and a program that shows it.

A row says which programs it concerns; those are not compared, and `test_differences.py` asserts that its example really
differs, so that no row outlives its reason. What both worlds say, but in other words, is translated instead, event by
event.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.worlds.program import Optimizer, Program


@dataclass(frozen=True)
class Difference:
    """One difference.

    Attributes:
        reason: why it is there.
        concerns: does it show in this program?
        example: a program in which it does.
    """

    reason: str
    concerns: Callable[[Program], bool]
    example: Program


def _sees_outputs(program: Program) -> bool:
    hooks = {*program.module_hooks, *program.callback_hooks}
    return program.several and bool(hooks & {"on_train_batch_end", "training_epoch_end"})


AWAITED: tuple[Difference, ...] = (
    Difference(
        "hooks get the outputs of other optimizers in torch than in JAX",
        _sees_outputs,
        Program("mlp", optimizers=(Optimizer(), Optimizer()), callback_hooks=("on_train_batch_end",)),
    ),
)
"""Defects of today. An entry goes with its mend: `test_differences.py` fails where it no longer differs."""

TORCH_AND_JAX: tuple[Difference, ...] = AWAITED


def concerning(program: Program, table: tuple[Difference, ...]) -> Difference | None:
    """The first row that this program shows."""
    return next((row for row in table if row.concerns(program)), None)
