"""How many batches pass before the host looks up again. Reads the clock on the wall."""

from __future__ import annotations

import time
from functools import reduce

from functrain.kernel.plan import NO_EVENT
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.run import Run


class DispatchSize:
    """How many batches may pass before the host looks up again: about `seconds` worth, so that a bar stays alive.

    Only how many batches are dispatched at once depends on it, never what they compute. Of several processes the first
    measures, and all count the same batches down, so that they look up at the same one.

    Attributes:
        batches: how many may pass until then.
    """

    def __init__(self, seconds: float | None, alone: bool = True) -> None:
        self.seconds = seconds
        self.alone = alone
        self.batches = NO_EVENT if seconds is None else 1
        self.since = time.monotonic()
        self.counted = 0

    def after(self, count: int) -> bool:
        """Count batches that have passed; return whether it is time to look up."""
        if self.seconds is None:
            return False
        self.counted += count
        if not self.alone:
            self.batches -= count
            return self.batches <= 0
        if time.monotonic() - self.since >= self.seconds:
            return True
        self.batches = min(2 * self.batches, NO_EVENT)
        return False

    def look_up(self, run: Run) -> None:
        """The host has control: measure, let callbacks act, and come to the same end as the other processes."""
        elapsed = time.monotonic() - self.since
        if self.seconds is not None and elapsed >= self.seconds:
            self.batches = max(1, int(self.counted / elapsed * self.seconds))
        else:
            self.batches = min(2 * max(self.counted, 1), NO_EVENT)
        self.settle(run)
        run.tick()
        self.since, self.counted = time.monotonic(), 0

    def settle(self, run: Run) -> None:
        """Agree with the other processes on whether the run ends, and on how many batches pass until they look up; a
        collective call. Nothing where there are none.

        Raises:
            ConfigurationError: they do not stand at the same place.
        """
        if self.alone:
            return
        stops, batches, clocks = zip(*run.world.gather((run.stop.bits(), max(self.batches, 1), run.clock)), strict=True)
        run.stop.settle(reduce(int.__or__, stops))
        self.batches = batches[0]
        places = [(clock.epoch, clock.batch, clock.update) for clock in clocks]
        if len(set(places)) > 1:
            where = "; ".join(f"process {i}: epoch {e}, batch {b}, {u} updates" for i, (e, b, u) in enumerate(places))
            raise ConfigurationError(
                f"the processes of the run do not stand at the same place ({where}). Their loaders must give the same "
                "number of batches, and their hooks must skip and stop alike."
            )
