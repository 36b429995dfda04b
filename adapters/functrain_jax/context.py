"""What a module and the programs that trace it must both know: the run as a traced step sees it. Types and names
only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from functrain.kernel.state import Clock
from functrain.trainer import context
from functrain.trainer.metrics import Metrics

# Hooks of the step itself belong to eager frameworks: a compiled step has no place for them.
STEP_HOOKS = (
    "on_before_zero_grad", "optimizer_zero_grad", "on_before_backward", "backward", "on_after_backward",
    "on_before_optimizer_step", "configure_gradient_clipping", "optimizer_step", "lr_scheduler_step",
)  # fmt: skip


class StepContext(NamedTuple):
    """What a module sees of the run while one of its steps is traced: the position, the mode, its keys, and where to
    note what it reads of the Trainer."""

    clock: Clock
    training: bool
    keys: Callable[[], Any]
    reads: set[str]

    def for_module(self, log: Callable[..., None]) -> context.Context:
        """Return what `module.global_step`, `module.current_epoch` and `module.log` look at in the step."""
        return context.Context(lambda: self.clock, log)


class Surroundings(NamedTuple):
    """What a trace asks of whoever runs the module.

    Attributes:
        metrics: how calls of `self.log` are treated.
        after_transfer: the hook `on_after_batch_transfer`; None where nobody overrides it.
    """

    metrics: Metrics
    after_transfer: Callable[..., Any] | None
