"""GradientAccumulationScheduler: batches an update, by epoch, as a callback.

Changes the Trainer's flags before the plan is made from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from functrain.kernel.window import Schedule
from functrain.trainer.callback import Callback
from functrain.trainer.errors import ConfigurationError


class GradientAccumulationScheduler(Callback):
    """Accumulates gradients over more batches in later epochs, as `Trainer(accumulate_grad_batches={...})` does.

    Args:
        scheduling: {epoch: batches an update from that epoch on}; epochs count from 0, and before the first
            one an update is one batch.

    Raises:
        ConfigurationError: an impossible schedule; at the start of a fit, a Trainer that has another one.
    """

    def __init__(self, scheduling: Mapping[int, int]) -> None:
        try:
            Schedule(scheduling)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"GradientAccumulationScheduler(scheduling={scheduling!r}): {error}") from None
        self.scheduling = dict(scheduling)

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """A fit begins: the Trainer makes its plan from the flags, after this."""
        if stage != "fit":
            return
        given = trainer.flags.accumulate_grad_batches
        if Schedule(given) not in (Schedule(1), Schedule(self.scheduling)):
            raise ConfigurationError(
                f"Trainer(accumulate_grad_batches={given!r}) and "
                f"GradientAccumulationScheduler({self.scheduling!r}) contradict each other; leave one out."
            )
        trainer.flags = replace(trainer.flags, accumulate_grad_batches=dict(self.scheduling))
