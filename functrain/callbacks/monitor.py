"""A monitored metric: its value, whether that is new, which direction is better, what to say where nobody logs it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from functrain.callbacks import state_values
from functrain.trainer.errors import ConfigurationError, kind, nearest
from functrain.trainer.events import Moment
from functrain.trainer.metrics import TRAIN
from functrain.trainer.narrow import is_text

_HIGHER_IS_BETTER = ("acc", "auc", "auroc", "bleu", "f1", "fmeasure", "iou", "precision", "recall")


POSITIONS = {"epoch": "current_epoch", "step": "global_step"}
"""What may be monitored though nobody logs it: the Trainer's own counts."""


def direction(mode: str, monitor: str | None, owner: str) -> str:
    """'min' or 'max'; 'auto' guesses from the metric's name (accuracy, auc, f1 and the like: 'max').

    Raises:
        ConfigurationError: another mode, or a monitor that is no name.
    """
    if monitor is not None and not is_text(monitor):
        raise ConfigurationError(f"{owner}(monitor={monitor!r}): must be the name of a metric, not {kind(monitor)}.")
    if mode in ("min", "max"):
        return mode
    if mode != "auto":
        raise ConfigurationError(f"{owner}(mode={mode!r}): must be 'min', 'max' or 'auto'.")
    words = re.split(r"[^a-z0-9]+", (monitor or "").lower())
    return "max" if any(word.startswith(_HIGHER_IS_BETTER) for word in words) else "min"


def rank(score: float, mode: str) -> float:
    """Return a number that is lower for the better score; NaN is the worst."""
    if math.isnan(score):
        return math.inf
    return score if mode == "min" else -score


def cut_short(trainer: Any, moment: Moment) -> bool:
    """Return whether, at the 'epoch' moment, a limit or a stop has ended the run within the epoch."""
    return moment == "epoch" and trainer.run.loop.mid_epoch()


class Watch:
    """Follows one metric through a fit: has it a value that was not looked at yet?

    A value of the validation is new once after every validation, an epoch's value of the training at the end
    of a whole epoch, a step's value always.

    Args:
        monitor: the metric's name; None follows the validations only.
        owner: who watches, for messages.
        same_state: a value of the validation is only new as long as no update came after it, and once an update: two
            validations within one window measure the same weights.

    Attributes:
        validated: the update, at which a validation has ended since the last `taken`; None without one.
        taken_at: that update, once it was taken.
        ever: a validation has ended in this fit.
    """

    def __init__(self, monitor: str | None, owner: str, same_state: bool = False) -> None:
        self.monitor = monitor
        self.owner = owner
        self.same_state = same_state
        self.validated: int | None = None
        self.taken_at: int | None = None
        self.ever = False

    def validation_ended(self, trainer: Any) -> None:
        """Say that a validation is over; the sanity check is none."""
        if not trainer.sanity_checking:
            self.validated, self.ever = trainer.global_step, True

    def taken(self) -> None:
        """The present value was looked at."""
        if self.validated is not None:
            self.taken_at, self.validated = self.validated, None

    def same_again(self) -> bool:
        """Return whether the present validation is one of weights whose validation was taken already."""
        return self.same_state and self.validated is not None and self.validated == self.taken_at

    def has_validated(self, trainer: Any) -> bool:
        """Return whether a validation has ended that was not taken yet."""
        if self.validated is None or self.same_again():
            return False
        return not self.same_state or self.validated == trainer.global_step

    def is_new(self, trainer: Any, moment: Moment) -> bool:
        """Return whether the metric has a value at this moment that was not taken yet."""
        if self.monitor in POSITIONS and self.monitor not in trainer.callback_metrics:
            return True
        entries = self._training_entries(trainer)
        if not entries:
            return self.has_validated(trainer) if trainer.run.val is not None else moment == "epoch"
        of_the_step = any(entry.options.on_step and self.monitor == entry.step_name for entry in entries)
        return of_the_step or (moment == "epoch" and not cut_short(trainer, moment))

    def _training_entries(self, trainer: Any) -> list[Any]:
        entries = trainer.run.metrics.entries.get(TRAIN, {}).values()
        return [e for e in entries if self.monitor in (e.name, e.step_name, e.epoch_name)]

    def read(self, trainer: Any) -> float | None:
        """Return the metric's value; None where nobody has logged it yet. Waits for the device. Of several processes
        all get that of the first, so that they decide alike."""
        value = trainer.callback_metrics.get(self.monitor)
        if value is None and self.monitor in POSITIONS:
            value = getattr(trainer, POSITIONS[self.monitor])
        return trainer.run.world.broadcast(None if value is None else float(value))

    def overdue(self, trainer: Any) -> bool:
        """Should the metric have been logged by the end of this epoch? Not if the first validation is still to come."""
        return self.ever or trainer.run.val is None

    def missing(self, trainer: Any) -> str:
        """Return what to say where nobody logs the metric: what is logged, and the nearest name."""
        known = sorted(trainer.callback_metrics)
        logged = f"logged are {', '.join(repr(name) for name in known)}" if known else "nothing is logged"
        return (
            f"{self.owner}(monitor={self.monitor!r}): nobody logs this metric; {logged}."
            f"{nearest(str(self.monitor), known)} Log it with self.log({self.monitor!r}, value), or monitor another."
        )

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"validated": self.validated, "taken_at": self.taken_at, "ever": self.ever}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""
        self.validated, self.taken_at = (
            None if state.get(name) is None else state_values.count(state, name) for name in ("validated", "taken_at")
        )
        self.ever = state_values.switch(state, "ever")
