"""A run and its profiler: it is told that a run begins, and tells what it has measured when it is over."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager

from functrain.trainer.errors import note_secondary
from functrain.trainer.foreign import ActionProfiler, ReportsRun, SeesModule
from functrain.trainer.manifest import directory_of
from functrain.trainer.profiler import PassThroughProfiler
from functrain.trainer.run import Run


def measuring(profiler: ActionProfiler) -> ActionProfiler | None:
    """Return the profiler of a run; None for one that measures nothing, so that nothing is wrapped."""
    return None if type(profiler) is PassThroughProfiler else profiler


def set_up(run: Run) -> None:
    """A run begins, and its processes know one another."""
    profiler = run.profiler
    if isinstance(profiler, ReportsRun):
        rank = run.world.rank if run.world.size > 1 else None
        directory = directory_of(run) or run.flags.root_directory
        profiler.setup(stage=run.stage, local_rank=rank, log_dir=directory)
    if isinstance(profiler, SeesModule):
        profiler.attach(run.module)


@contextmanager
def reported(run: Run) -> Generator[None]:
    """At the end of the block, which is the run, its profiler tells what it has measured, also after an exception."""
    try:
        yield
    except BaseException as error:
        with note_secondary(error):
            _report(run)
        raise
    _report(run)


def _report(run: Run) -> None:
    profiler = run.profiler
    if not isinstance(profiler, ReportsRun):
        return
    try:
        profiler.describe()
    except OSError as error:
        warnings.warn(f"the report of {type(profiler).__name__} is not written: {error}", UserWarning, stacklevel=2)
    finally:
        profiler.teardown(stage=run.stage)
