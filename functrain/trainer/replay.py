"""The step at which a run has ended for a value that is not finite: written so that it can be run again."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from typing import Any

from functrain import files
from functrain.trainer import checkpoint as checkpoints
from functrain.trainer import metrics_state, plain_batch
from functrain.trainer.callback import Checkpoint
from functrain.trainer.combined import leaves_of
from functrain.trainer.errors import CheckpointError, NotFiniteError, note_secondary
from functrain.trainer.random_states import RandomStates
from functrain.trainer.run import Run

BATCH = "failing_batch"
"""The part of such a checkpoint that holds the batch of the step."""

RANDOM = "failing_rng"
"""The part that holds the random state in which the step begins, where drawing the batch may have moved it; the
checkpoint's own is that from before the draw, for a run that continues and draws it again."""


class BeforeStep:
    """What a step reads, as it was before the batch that was drawn last: for engines that move in place.

    Args:
        keep: the engine's own; see `functrain.trainer.adapter.Traits`.

    Attributes:
        drawn: the random state once the batch was drawn.
        holds: a batch was drawn.
    """

    def __init__(self, run: Run, keep: Callable[[Any], tuple[Any, Callable[[], None]]]) -> None:
        self.run = run
        self.keep = keep
        self.drawn: dict[str, Any] = {}
        self.holds = False

    def each(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yield the batches; of each, what its step reads is kept, in the place of what was kept before."""
        missing = object()
        self.random = RandomStates(self.run, leaves_of([self.run.source.loader]))
        while True:
            drawing, loaders = self.random.now(), self.random.of_loaders()
            batch = next(batches, missing)
            if batch is missing:
                return
            self.drawing, self.drawn, self.loaders = drawing, self.random.now(), loaders
            self.batch, self.back = self.keep(batch)
            self.holds = True
            self.metrics, self.clock = metrics_state.kept(self.run.metrics), self.run.clock
            yield batch

    @contextmanager
    def before(self) -> Generator[Any]:
        """Within it the run is as it was before the batch was drawn. Gives the batch."""
        run, clock, random, loaders = self.run, self.run.clock, self.random.now(), self.random.of_loaders()
        _, again = self.keep(None)
        metrics = metrics_state.kept(run.metrics)
        try:
            self.back()
            self.metrics()
            run.clock = self.clock
            self.random.load(self.drawing, self.loaders)
            yield self.batch
        finally:
            again()
            metrics()
            run.clock = clock
            self.random.load(random, loaders)


@contextmanager
def written(
    run: Run, between_batches: Callable[[], AbstractContextManager[None]], kept: BeforeStep | None = None
) -> Generator[None]:
    """Where the block ends with a value that is not finite, the state before the step is written with its batch, as a
    checkpoint that the error names."""
    try:
        yield
    except NotFiniteError as error:
        before, error.before = error.before, None
        if kept is not None:
            before = kept.before if kept.holds else None
        alone_and_first = run.world.size == 1 and error.path is None
        if before is not None and alone_and_first:
            with note_secondary(error):
                _write(run, between_batches, error, before, {} if kept is None else {RANDOM: kept.drawn})
        raise


def _write(
    run: Run,
    between_batches: Callable[[], AbstractContextManager[None]],
    error: NotFiniteError,
    before: Callable[[], AbstractContextManager[Any]],
    random: Mapping[str, Any],
) -> None:
    with before() as batch, between_batches():
        clock = run.clock
        held, left_out = plain_batch.taken_apart(batch)
        saved = {**checkpoints.assemble(run, weights_only=False), BATCH: held, **random}
        directory = files.ensure_directory(directory_of(run))
        name = files.join(directory, f"not_finite-epoch={clock.epoch}-batch={clock.batch}")
        path = _free_path(name, run.checkpoints.suffix)
        run.checkpoints.save(path, saved).wait()
    error.path = path
    error.args = (f"{error.args[0]} The state before this step and its batch are in {path}; see 'Replay a step'.",)
    if left_out:
        warnings.warn(
            f"{path} holds the batch without {', '.join(left_out)}, which could not be read back without running code; "
            "failing_batch returns None in the place of each.",
            UserWarning,
            stacklevel=2,
        )


def _free_path(name: str, suffix: str) -> str:
    """Return a path that nothing has: what stands there is another run's."""
    paths = (f"{name}-v{version}{suffix}" if version else name + suffix for version in count())
    return next(path for path in paths if not files.exists(path))


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
    return plain_batch.put_together(saved[BATCH])


def with_random_of_step(saved: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a checkpoint whose random state is that in which the step of its batch begins, for who has the batch."""
    return {**saved, "rng": saved[RANDOM]} if RANDOM in saved else saved
