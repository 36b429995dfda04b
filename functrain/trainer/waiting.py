"""Does a fit spend its time in loading batches? Measured at its start, where worker processes could help."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator
from typing import Any

from functrain.trainer.combined import places_of
from functrain.trainer.run import Run

SECONDS = 10.0
"""So long is measured before anything is said."""

SHARE = 0.3
"""A larger share of the time than this, spent in loading, is worth a word."""


class Waiting:
    """Measures the first seconds of a fit, of loaders that read their batches in the process that trains.

    A loader of a small data set in memory needs no worker processes, and is slower with them: it is the time that
    tells, not the number.

    Attributes:
        loading: seconds that were spent in drawing batches.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self.loading = 0.0
        self._began: float | None = None
        self._spare = spare_cores(run.world.size)
        self._done = self._spare < 1 or run.world.rank > 0 or run.outer is not None

    def measured(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Return the same batches; `batches` itself where nothing is to be measured."""
        few = [] if self._done else [place for place, leaf in places_of(self._run.source.loader).items() if _few(leaf)]
        return self._measuring(batches, few) if few else batches

    def _measuring(self, batches: Iterator[Any], few: list[str]) -> Iterator[Any]:
        missing, clock = object(), time.monotonic
        while not self._done:
            asked = clock()
            if self._began is None:
                self._began = asked
            batch = next(batches, missing)
            now = clock()
            self.loading += now - asked
            if batch is missing:
                return
            if now - self._began >= SECONDS:
                self._done = True
                self._tell(now - self._began, few)
            yield batch
        yield from batches

    def _tell(self, seconds: float, few: list[str]) -> None:
        share = self.loading / seconds
        if share > SHARE:
            names = ", ".join(f"train_dataloader{place}" for place in few)
            warnings.warn(
                f"{names} does not have many workers (num_workers is below 2), and {share:.0%} of the first "
                f"{seconds:.1f} seconds of training were spent in loading batches: num_workers={self._spare} may be "
                "faster here.",
                UserWarning,
                stacklevel=2,
            )


def _few(loader: Any) -> bool:
    workers = getattr(loader, "num_workers", None)
    return isinstance(workers, int) and workers < 2


def spare_cores(processes: int) -> int:
    """Return how many cores there are beside the one that trains, for each of so many processes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores // processes - 1
