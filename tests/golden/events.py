"""Records the Trainer's own events in a small run: log, validate, checkpoint, stop, and what loggers are given when.

Knows no framework.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from functrain.loggers import Logger
from functrain.trainer.callback import Callback

# Two epochs of five batches, two an update: an epoch has three updates, its last one of a single batch.
FLAGS: dict[str, Any] = {
    "max_epochs": 2, "accumulate_grad_batches": 2, "val_check_interval": 2, "log_every_n_steps": 1,
    "num_sanity_val_steps": 0, "checkpoint_callback": False, "progress_bar_refresh_rate": 0, "weights_summary": None,
}  # fmt: skip
BATCHES = 5


class Events(Callback):
    """Acts at every event; asks for one every two updates."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    def tell(self, what: str, trainer: Any) -> None:
        self.lines.append(f"{what} update={trainer.global_step}")

    def every_n_updates(self) -> int:
        return 2

    def log_step(self, trainer: Any, pl_module: Any, metrics: dict[str, Any]) -> None:
        self.tell("log", trainer)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self.tell("validate", trainer)

    def checkpoint(self, trainer: Any, pl_module: Any, moment: str) -> None:
        self.tell(f"checkpoint {moment}", trainer)

    def should_stop(self, trainer: Any, pl_module: Any, moment: str) -> None:
        self.tell(f"stop {moment}", trainer)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.tell("epoch ends", trainer)


class Telling(Logger):
    """Tells the names of what it is given."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    @property
    def name(self) -> str:
        return "telling"

    @property
    def version(self) -> int:
        return 0

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.lines.append(f"write {' '.join(sorted(metrics))} step={step}")

    def log_hyperparams(self, params: Any, metrics: Any = None) -> None:
        self.lines.append("write hyperparameters")


def recorded_run(model: Any, train: Any, val: Any, trainer_class: type) -> list[str]:
    """The events of a fit; the model logs 'loss' by step and epoch, and 'val_loss'."""
    lines: list[str] = []
    run = trainer_class(callbacks=Events(lines), logger=Telling(lines), **FLAGS)
    run.fit(model, train, val)
    return lines
