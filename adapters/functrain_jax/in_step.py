"""The Trainer as a traced step sees it: its position is traced, and what a trace would freeze is an error."""

from __future__ import annotations

from typing import Any

from functrain.kernel.state import Clock
from functrain.trainer.errors import ConfigurationError

FROZEN = (
    "callback_metrics", "logged_metrics", "progress_bar_metrics", "should_stop", "interrupted", "sanity_checking",
    "run",
)  # fmt: skip
"""What changes during a run, and would be read once."""


class TracedTrainer:
    """Stands in the place of `self.trainer` while a step is traced. What is read is noted in `reads`.

    Raises:
        ConfigurationError: something is read that changes from step to step, or something is set.
    """

    def __init__(self, trainer: Any, clock: Clock, reads: set[str]) -> None:
        self.__dict__.update(_trainer=trainer, _reads=reads, current_epoch=clock.epoch, global_step=clock.update)

    def __getattr__(self, name: str) -> Any:
        if name in FROZEN:
            raise ConfigurationError(
                f"self.trainer.{name} was read inside a compiled step, which would keep what it was when traced. Read "
                "it in a hook and keep what the step needs in self.vars, or compute it from self.global_step."
            )
        self._reads.add(f"trainer.{name}")
        return getattr(self._trainer, name)

    def __setattr__(self, name: str, value: Any) -> None:
        raise ConfigurationError(
            f"self.trainer.{name} was set inside a compiled step, where it happens once, while tracing. Set it "
            "in a hook, such as on_train_batch_end."
        )
