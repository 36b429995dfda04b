"""EarlyStopping: asks the Trainer to stop where a metric no longer improves, after the checkpoint of the moment."""

from __future__ import annotations

import math
import warnings
from typing import Any

from functrain.callbacks import state_values
from functrain.callbacks.monitor import Watch, cut_short, direction, rank
from functrain.trainer.callback import EarlyStop
from functrain.trainer.errors import ConfigurationError, kind
from functrain.trainer.events import Moment
from functrain.trainer.narrow import is_count, is_number


class EarlyStopping(EarlyStop):
    """Stops a run where a metric has not improved for a while.

    Every new value of the metric is looked at once, after each validation if the validation logs it, at the end of each
    epoch if the training does. The run still meets `min_epochs` and `min_steps`.

    Args:
        monitor: the metric's name.
        min_delta: a change of not more than this is no improvement; >= 0.
        patience: stop at so many checks in a row without improvement.
        verbose: print what was found.
        mode: 'min', 'max', or 'auto' to guess from the metric's name.
        strict: a metric that nobody logs is an error; False warns once.
        check_finite: stop where the metric is NaN or infinite.
        stopping_threshold: stop where the metric is better than this.
        divergence_threshold: stop where the metric is worse than this.
        check_on_train_epoch_end: look at the end of epochs only, not after validations within them.

    Attributes:
        wait_count: checks in a row without improvement.
        best_score: the best value so far; infinite before.
        stopped_epoch: the epoch, from 0, in which it asked to stop; 0 before.
        stopping_reason: why, in words; None before.

    Raises:
        ConfigurationError: an impossible argument; in a fit, with `strict`, a metric that nobody logs.
    """

    def __init__(
        self,
        monitor: str = "early_stop_on",
        min_delta: float = 0.0,
        patience: int = 3,
        verbose: bool = False,
        mode: str = "min",
        strict: bool = True,
        check_finite: bool = True,
        stopping_threshold: float | None = None,
        divergence_threshold: float | None = None,
        check_on_train_epoch_end: bool | None = None,
    ) -> None:
        self.monitor = monitor
        if not is_number(min_delta):
            raise ConfigurationError(
                f"EarlyStopping(min_delta={min_delta!r}): must be a number, not {kind(min_delta)}."
            )
        if not math.isfinite(min_delta):
            raise ConfigurationError(f"EarlyStopping(min_delta={min_delta!r}): must be a finite number.")
        self.min_delta = abs(min_delta)
        self.patience = patience
        self.verbose = verbose
        self.mode = direction(mode, monitor, "EarlyStopping")
        self.strict = strict
        self.check_finite = check_finite
        self.stopping_threshold = stopping_threshold
        self.divergence_threshold = divergence_threshold
        self.check_on_train_epoch_end = bool(check_on_train_epoch_end)
        if not is_count(patience):
            raise ConfigurationError(f"EarlyStopping(patience={patience!r}): must be an int >= 0.")
        self._reset()

    def _reset(self) -> None:
        self.wait_count = 0
        self.best_score = math.inf if self.mode == "min" else -math.inf
        self.stopped_epoch = 0
        self.stopping_reason: str | None = None
        self._watch = Watch(self.monitor, "EarlyStopping")
        self._warned = False

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """A fit begins with nothing counted; one that continues takes its counts from the checkpoint."""
        if stage == "fit":
            self._reset()

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """The metrics of a validation are new."""
        self._watch.validation_ended(trainer)

    def should_stop(self, trainer: Any, pl_module: Any, moment: Moment) -> None:
        """Look at the metric, if it is new."""
        if trainer.fast_dev_run or cut_short(trainer, moment):
            return
        if self.check_on_train_epoch_end and moment != "epoch":
            return
        value = self._watch.read(trainer)
        if value is None:
            self._missing(trainer)
        elif self._watch.is_new(trainer, moment):
            self._watch.taken()
            self._look(trainer, value, trainer.current_epoch)

    def _missing(self, trainer: Any) -> None:
        if not self._watch.overdue(trainer):
            return
        if self.strict:
            raise ConfigurationError(f"{self._watch.missing(trainer)} With strict=False this is only a warning.")
        if not self._warned:
            self._warned = True
            warnings.warn(f"{self._watch.missing(trainer)} So it stops nothing.", UserWarning, stacklevel=2)

    def _look(self, trainer: Any, value: float, epoch: int) -> None:
        usable = math.isfinite(value) or not self.check_finite
        improved = usable and rank(value, self.mode) < rank(self.best_score, self.mode) - self.min_delta
        reason = self._alarm(value)
        if improved:
            self.wait_count, self.best_score = 0, value
        elif reason is None:
            self.wait_count += 1
            if self.wait_count >= self.patience:
                reason = (
                    f"{self.monitor} did not improve on {self.best_score:.6g} by more than "
                    f"{self.min_delta:g} in {self.wait_count} checks in a row"
                )
        if reason is not None:
            trainer.should_stop = True
            self.stopped_epoch, self.stopping_reason = epoch, reason
        is_news = self.verbose and (improved or reason)
        if is_news:
            trainer.print(f"EarlyStopping: {reason or f'{self.monitor} improved to {value:.6g}'} (epoch {epoch})")

    def _alarm(self, value: float) -> str | None:
        """Return why this value alone ends the run; None where it does not."""
        if self.check_finite and not math.isfinite(value):
            return f"{self.monitor} is {value}"
        here, named = rank(value, self.mode), f"{self.monitor} {value:.6g}"
        if self.stopping_threshold is not None and here < rank(self.stopping_threshold, self.mode):
            return f"{named} is better than the stopping threshold {self.stopping_threshold:g}"
        if self.divergence_threshold is not None and here > rank(self.divergence_threshold, self.mode):
            return f"{named} is worse than the divergence threshold {self.divergence_threshold:g}"
        return None

    @property
    def state_key(self) -> str:
        """Tells several instances apart by what they watch."""
        return f"EarlyStopping(monitor={self.monitor!r}, mode={self.mode!r})"

    def state_dict(self) -> dict[str, Any]:
        """Return the counts, as plain values."""
        return {
            "wait_count": self.wait_count,
            "best_score": self.best_score,
            "stopped_epoch": self.stopped_epoch,
            "stopping_reason": self.stopping_reason,
            "watch": self._watch.state(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the counts back. The run may be given more patience: `patience` is that of this instance."""
        reason = state_dict["stopping_reason"]
        self.wait_count = state_values.count(state_dict, "wait_count")
        self.best_score = state_values.number(state_dict, "best_score")
        self.stopped_epoch = state_values.count(state_dict, "stopped_epoch")
        self.stopping_reason = None if reason is None else state_values.text(state_dict, "stopping_reason")
        self._watch.load_state(state_values.part(state_dict, "watch"))
