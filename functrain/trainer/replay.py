"""The step at which a run has ended for a value that is not finite: written so that it can be run again."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from functrain import files
from functrain.trainer import checkpoint as checkpoints
from functrain.trainer.callback import Checkpoint
from functrain.trainer.errors import CheckpointError, NotFiniteError, note_secondary
from functrain.trainer.run import Run

BATCH = "failing_batch"
"""The part of such a checkpoint that holds the batch of the step."""


@contextmanager
def written(run: Run, between_batches: Callable[[], AbstractContextManager[None]]) -> Generator[None]:
    """Where the block ends with a value that is not finite, the state before the step is written with its batch, as a
    checkpoint that the error names."""
    try:
        yield
    except NotFiniteError as error:
        if error.before is not None and run.world.size == 1:
            with note_secondary(error):
                _write(run, between_batches, error, error.before)
        raise


def _write(
    run: Run,
    between_batches: Callable[[], AbstractContextManager[None]],
    error: NotFiniteError,
    before: Callable[[], AbstractContextManager[Any]],
) -> None:
    error.before = None
    with before() as batch, between_batches():
        clock = run.clock
        saved = {**checkpoints.assemble(run, weights_only=False), BATCH: batch}
        directory = files.ensure_directory(directory_of(run))
        path = files.join(directory, f"not_finite-epoch={clock.epoch}-batch={clock.batch}{run.checkpoints.suffix}")
        run.checkpoints.save(path, saved).wait()
    error.path = path
    error.args = (f"{error.args[0]} The state before this step and its batch are in {path}; see 'Replay a step'.",)


def directory_of(run: Run) -> str:
    """Return where the checkpoints of the run go: the directory of a callback that saves them, else the Trainer's."""
    known: list[str] = [c.dirpath for c in run.callbacks if isinstance(c, Checkpoint) and c.dirpath is not None]
    return os.fspath(known[0]) if known else run.flags.root_directory


def batch_of(saved: Mapping[str, Any], path: str) -> Any:
    """Return the batch that stands in such a checkpoint.

    Raises:
        CheckpointError: there is none.
    """
    if BATCH not in saved:
        raise CheckpointError(f"{path}: holds no batch; terminate_on_nan writes those that do.")
    return saved[BATCH]
