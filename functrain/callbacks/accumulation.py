"""GradientAccumulationScheduler: batches an update, by epoch, as a callback. Tells the Trainer's plan."""

from __future__ import annotations

from collections.abc import Mapping

from functrain.kernel.window import Schedule
from functrain.trainer.callback import Callback
from functrain.trainer.errors import ConfigurationError, kind


class GradientAccumulationScheduler(Callback):
    """Accumulates gradients over more batches in later epochs, as `Trainer(accumulate_grad_batches={...})` does.

    Args:
        scheduling: {epoch: batches an update from that epoch on}; epochs count from 0, and before the first
            one an update is one batch.

    Raises:
        ConfigurationError: an impossible schedule; at the start of a fit, a Trainer that has another one.
    """

    def __init__(self, scheduling: Mapping[int, int]) -> None:
        if not isinstance(scheduling, Mapping):
            raise ConfigurationError(
                f"GradientAccumulationScheduler(scheduling={scheduling!r}): must be a dict {{from_epoch: int}}, not "
                f"{kind(scheduling)}."
            )
        try:
            Schedule(scheduling)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"GradientAccumulationScheduler(scheduling={scheduling!r}): {error}") from None
        self.scheduling = dict(scheduling)

    def accumulation(self) -> Mapping[int, int]:
        """Return what the Trainer's plan of the fit is made with."""
        return self.scheduling
