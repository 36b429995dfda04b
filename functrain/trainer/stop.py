"""Why a run ends before its limits: it was asked to, a signal came, its time is over. Reads the clock on the wall."""

from __future__ import annotations

import signal
import time

from functrain.kernel import plan as plans
from functrain.kernel.plan import Plan
from functrain.kernel.state import Clock

REQUESTED, INTERRUPTED, TERMINATED, LATE = 1, 2, 4, 8


class Stop:
    """Whether, and why, a run is to end before its limits.

    A process that trains alone does at once what it is asked. Several keep what one of them wants to themselves until
    `settle`, which all call at the same batch: so all of them end there.

    Args:
        seconds: how long the run may take; None for no limit.
        alone: this is the only process of the run.
        outer: of the run within which this one is: its signals and the end of its time are this one's too.

    Attributes:
        requested: `trainer.should_stop`, as this process was asked, or as all have agreed.
        granted: the run ends at the next batch, once the minima are met.
        interrupted: Ctrl-C or SIGTERM came: the run ends after the batch under way.
        terminated: it was SIGTERM; the process ends when the run has.
        raised: one of these three holds. A plain attribute, since engines read it between any two batches.
        late: the processes have agreed that the time is over.
        deadline: the run ends after it, on the monotonic clock in seconds; None for no limit.
    """

    __slots__ = (
        "_inner", "_signals", "alone", "deadline", "granted", "interrupted", "late", "raised", "requested",
        "terminated",
    )  # fmt: skip

    def __init__(self, seconds: float | None = None, alone: bool = True, outer: Stop | None = None) -> None:
        self.alone = alone
        self.requested = self.granted = self.interrupted = self.terminated = self.raised = self.late = False
        self.deadline = None if seconds is None else time.monotonic() + seconds
        self._signals = 0
        self._inner: Stop | None = None
        if outer is not None:
            self._hear(outer)

    def _hear(self, outer: Stop) -> None:
        deadlines = [deadline for deadline in (self.deadline, outer.deadline) if deadline is not None]
        self.deadline = min(deadlines, default=None)
        outer._inner = self
        self._take(outer._signals)

    def limit(self, seconds: float) -> None:
        """The run may take so many seconds from now on, where it had no less."""
        deadline = time.monotonic() + seconds
        self.deadline = deadline if self.deadline is None else min(self.deadline, deadline)

    def request(self, wish: bool) -> None:
        """Ask for the run's end, or take that back; of several processes all have to take it back."""
        self.requested = wish
        if self.alone:
            self._grant(wish)

    def interrupt(self, number: int) -> None:
        """A signal of this number has come."""
        self._take(INTERRUPTED | (TERMINATED if number == signal.SIGTERM else 0))

    def _take(self, signals: int) -> None:
        self._signals |= signals
        if self.alone:
            self._end(self._signals)
        if self._inner is not None:
            self._inner._take(signals)

    def bits(self) -> int:
        """Return what this process wants, for `settle`."""
        return (REQUESTED if self.requested else 0) | self._signals | (LATE if self._out_of_time() else 0)

    def settle(self, bits: int) -> None:
        """From here on what these bits say holds for the run: the wishes of all its processes."""
        if bits & REQUESTED:
            self.requested = True
        self.late = bool(bits & LATE)
        self._grant(bool(bits & REQUESTED))
        self._end(bits)

    def _grant(self, wish: bool) -> None:
        self.granted = self.raised = wish
        if self.interrupted:  # also by a signal that came between these lines
            self.raised = True

    def _end(self, bits: int) -> None:
        if bits & INTERRUPTED:
            self.interrupted = self.raised = True
        if bits & TERMINATED:
            self.terminated = True

    def is_due(self, plan: Plan, clock: Clock) -> bool:
        """Return whether the run ends at this position. Limits come first; a stop that was asked for waits for the
        minima."""
        return plans.at_limit(plan, clock) or (self.granted and plans.may_stop(plan, clock))

    def now(self, plan: Plan, clock: Clock) -> bool:
        """Return whether the run ends now: at this position, or because of a signal or its time."""
        out_of_time = self.late
        if self.alone and self.deadline is not None:
            out_of_time = self._out_of_time()
        return plan.batches == 0 or self.interrupted or out_of_time or self.is_due(plan, clock)

    def _out_of_time(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline
