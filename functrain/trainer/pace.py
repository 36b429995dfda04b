"""How many batches pass before the host looks up again. Reads the clock on the wall."""

from __future__ import annotations

import time
from typing import Any

from functrain.kernel.plan import NO_EVENT


class Pace:
    """How many batches may pass before the host looks up again, so that a bar stays alive: about `seconds` worth.

    Only how many batches are dispatched at once depends on it, never what they compute.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self.batches = NO_EVENT if seconds is None else 1
        self.since = time.monotonic()
        self.counted = 0

    def after(self, count: int, tick: Any) -> None:
        """So many batches have passed: tick if it is time, and measure."""
        if self.seconds is None:
            return
        self.counted += count
        elapsed = time.monotonic() - self.since
        if elapsed >= self.seconds:
            tick()
            self.batches = max(1, int(self.counted / elapsed * self.seconds))
            self.since, self.counted = time.monotonic(), 0
        else:
            self.batches = min(2 * self.batches, NO_EVENT)
