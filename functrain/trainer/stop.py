"""Why a run ends before its limits: it was asked to, a signal came, its time is over. Reads the clock on the wall."""

from __future__ import annotations

import signal
import time

from functrain.kernel import plan as plans
from functrain.kernel.plan import Plan
from functrain.kernel.state import Clock


class Stop:
    """Whether, and why, a run is to end before its limits.

    Attributes:
        requested: `trainer.should_stop`: the run ends at the next batch, once the minima are met.
        interrupted: Ctrl-C or SIGTERM came: the run ends after the batch under way.
        terminated: it was SIGTERM; the process ends when the run has.
        raised: one of these holds. A plain attribute, since engines read it between any two batches.
        deadline: the run ends after it, on the monotonic clock in seconds; None for no limit.
    """

    __slots__ = ("deadline", "interrupted", "raised", "requested", "terminated")

    def __init__(self, seconds: float | None = None) -> None:
        self.requested = self.interrupted = self.terminated = self.raised = False
        self.deadline = None if seconds is None else time.monotonic() + seconds

    def request(self, wish: bool) -> None:
        """Ask for the run's end, or take that back."""
        self.requested = wish
        self.raised = wish or self.interrupted

    def interrupt(self, number: int) -> None:
        """A signal of this number has come."""
        self.interrupted = self.raised = True
        self.terminated = self.terminated or number == signal.SIGTERM

    def is_due(self, plan: Plan, clock: Clock) -> bool:
        """Does the run end at this position? Limits come first; a stop that was asked for waits for the minima."""
        return plans.at_limit(plan, clock) or (self.requested and plans.may_stop(plan, clock))

    def now(self, plan: Plan, clock: Clock) -> bool:
        """Does the run end now: at this position, or because of a signal or its time?"""
        out_of_time = self.deadline is not None and time.monotonic() >= self.deadline
        return plan.batches == 0 or self.interrupted or out_of_time or self.is_due(plan, clock)
