"""What a Trainer is doing, in words that can be compared: its status, the method that was called, the stage under way.
Touches nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class TrainerStatus(StrEnum):
    """How far a run is."""

    INITIALIZING = "initializing"
    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"

    @property
    def stopped(self) -> bool:
        """Is the run over?"""
        return self in (TrainerStatus.FINISHED, TrainerStatus.INTERRUPTED)


class TrainerFn(StrEnum):
    """Which method of the Trainer runs."""

    FITTING = "fit"
    VALIDATING = "validate"
    TESTING = "test"
    PREDICTING = "predict"
    TUNING = "tune"


class RunningStage(StrEnum):
    """Which stage is under way: a fit trains, checks and validates in turn."""

    TRAINING = "train"
    SANITY_CHECKING = "sanity_check"
    VALIDATING = "validate"
    TESTING = "test"
    PREDICTING = "predict"
    TUNING = "tune"

    @property
    def evaluating(self) -> bool:
        """Does it validate or test?"""
        return self in (RunningStage.VALIDATING, RunningStage.TESTING)

    @property
    def dataloader_prefix(self) -> str | None:
        """What the name of its loader begins with: 'val' of `val_dataloader`; None of a stage without one."""
        if self in (RunningStage.SANITY_CHECKING, RunningStage.VALIDATING):
            return "val"
        return None if self is RunningStage.TUNING else self.value


@dataclass(frozen=True)
class TrainerState:
    """What a Trainer is doing.

    Attributes:
        fn: the method that was called last; None before any.
        stage: what is under way; None outside of a run.
    """

    status: TrainerStatus = TrainerStatus.INITIALIZING
    fn: TrainerFn | None = None
    stage: RunningStage | None = None

    @property
    def finished(self) -> bool:
        """Did the run reach its end?"""
        return self.status is TrainerStatus.FINISHED

    @property
    def stopped(self) -> bool:
        """Is the run over, however it ended?"""
        return self.status.stopped
