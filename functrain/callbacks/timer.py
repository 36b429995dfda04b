"""Timer: how long the stages of a run take, and an end to training after a time. Reads the clock on the wall."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any

from functrain.trainer.callback import Callback
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.events import Moment
from functrain.trainer.flag_checks import seconds_of
from functrain.trainer.narrow import is_mapping

TICK_SECONDS = 0.1
TRAIN, VALIDATE, TEST, PREDICT = "train", "validate", "test", "predict"
OTHER_NAMES = {"fit": TRAIN, "sanity_check": VALIDATE, "validation": VALIDATE}


class Interval(StrEnum):
    """When a Timer looks whether its time is over: between any two steps, or at the end of an epoch."""

    step = "step"
    epoch = "epoch"


class Timer(Callback):
    """Measures how long training, validation, test and prediction take, and ends a fit after a time.

    The time of training is kept in checkpoints: a run that continues counts on, and does nothing where no time is left.
    With `interval='step'` the limit is that of `Trainer(max_time=...)`, but that it counts training alone: the run ends
    after the batch under way, whatever its minima are. With 'epoch' it is a wish, as `trainer.should_stop` is, and
    waits for `min_epochs` and `min_steps`.

    Args:
        duration: how long training may take: 'DD:HH:MM:SS', a timedelta, or a dict of its arguments; None for no limit.
        interval: 'step', or 'epoch' to end training with a whole epoch only.
        verbose: print that the time is over.

    Raises:
        ConfigurationError: another duration or interval.
    """

    def __init__(
        self,
        duration: str | timedelta | Mapping[str, float] | None = None,
        interval: str = Interval.step,
        verbose: bool = True,
    ) -> None:
        self.duration = seconds_of(duration, f"Timer(duration={duration!r})")
        if interval not in list(Interval):
            raise ConfigurationError(f"Timer(interval={interval!r}): must be 'step' or 'epoch'.")
        self.interval = Interval(interval)
        self.verbose = verbose
        if self.duration is not None and self.interval == Interval.step:
            self.tick_seconds = TICK_SECONDS
        self._starts: dict[str, float] = {}
        self._ends: dict[str, float] = {}
        self._before = 0.0

    # what it has measured

    def start_time(self, stage: str = TRAIN) -> float | None:
        """Return when a stage began, on the monotonic clock in seconds; None where it did not.

        Args:
            stage: 'train', 'validate', 'test' or 'predict'.
        """
        return self._starts.get(_stage(stage))

    def end_time(self, stage: str = TRAIN) -> float | None:
        """Return when a stage ended; None where it is under way or was not run."""
        return self._ends.get(_stage(stage))

    def time_elapsed(self, stage: str = TRAIN) -> float:
        """Return the seconds that a stage has taken; of training with those before the checkpoint that it continues
        from."""
        stage = _stage(stage)
        before = self._before if stage == TRAIN else 0.0
        if stage not in self._starts:
            return before
        return self._ends.get(stage, time.monotonic()) - self._starts[stage] + before

    def time_remaining(self, stage: str = TRAIN) -> float | None:
        """Return the seconds that are left of the limit; None without one."""
        return None if self.duration is None else self.duration - self.time_elapsed(stage)

    # when

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """A fit begins: what was measured of another is not of it."""
        if stage == "fit":
            self._starts, self._ends, self._before = {}, {}, 0.0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Training begins, or goes on."""
        self._begin(TRAIN)
        remaining = self.time_remaining()
        if remaining is not None and self.interval == Interval.step:
            trainer.run.stop.limit(remaining)
        else:
            self._wish(trainer)

    def should_stop(self, trainer: Any, pl_module: Any, moment: Moment) -> None:
        """An epoch is whole, and its checkpoint written, which is to know nothing of the wish: a run that continues may
        have more time."""
        if moment == "epoch" and self.interval == Interval.epoch:
            self._wish(trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Training ends."""
        self._end(TRAIN)
        if self.verbose and self._is_over():
            took, limit = timedelta(seconds=int(self.time_elapsed())), timedelta(seconds=self.duration or 0)
            trainer.print(f"Timer: training took {took}; its limit of {limit} is reached.")

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """A validation begins."""
        self._begin(VALIDATE)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """A validation ends."""
        self._end(VALIDATE)

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        """The test begins."""
        self._begin(TEST)

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        """The test ends."""
        self._end(TEST)

    def on_predict_start(self, trainer: Any, pl_module: Any) -> None:
        """The prediction begins."""
        self._begin(PREDICT)

    def on_predict_end(self, trainer: Any, pl_module: Any) -> None:
        """The prediction ends."""
        self._end(PREDICT)

    def state_dict(self) -> dict[str, Any]:
        """Return the seconds that each stage has taken."""
        return {"time_elapsed": {stage: self.time_elapsed(stage) for stage in (TRAIN, *self._starts)}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Count training on."""
        elapsed = state_dict.get("time_elapsed", {})
        if not is_mapping(elapsed):
            raise ValueError(f"time_elapsed is {elapsed!r}, and no dict by stage")
        self._before = float(elapsed.get(TRAIN, 0.0))

    def _begin(self, stage: str) -> None:
        self._starts[stage] = time.monotonic()
        self._ends.pop(stage, None)

    def _end(self, stage: str) -> None:
        self._ends[stage] = time.monotonic()

    def _wish(self, trainer: Any) -> None:
        if self._is_over():
            trainer.should_stop = True

    def _is_over(self) -> bool:
        remaining = self.time_remaining()
        return remaining is not None and remaining <= 0


def _stage(given: Any) -> str:
    """Return the stage's own name, whichever of its names is given, or a member of an enum with that value."""
    name = str(getattr(given, "value", given))
    name = OTHER_NAMES.get(name, name)
    if name not in (TRAIN, VALIDATE, TEST, PREDICT):
        raise ConfigurationError(f"Timer: {given!r} is no stage; give 'train', 'validate', 'test' or 'predict'.")
    return name
