"""What a checkpoint keeps of the loggers, and how several of them learn that a run begins, goes on, and how it ended.

A logger that keeps no state and takes no rows back is left out of these, but for the last.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any, cast

from functrain.trainer.callback import Checkpoint
from functrain.trainer.foreign import BeginsRun, Rewinds, RunLogger, Shares, TellsState
from functrain.trainer.narrow import is_mapping
from functrain.trainer.world import World


def states(loggers: Iterable[object]) -> dict[str, Any]:
    """Return the states of several loggers, by the names of their classes, counted where there are several of one."""
    found = {key: logger.state_dict() for key, logger in _keyed(loggers) if isinstance(logger, TellsState)}
    return {key: state for key, state in found.items() if state}


def share(loggers: Iterable[object], world: World) -> None:
    """Have several loggers be those of all processes: what the first decides is taken over by the others."""
    for logger in loggers:
        if isinstance(logger, Shares):
            logger.share(world)


def begin_run(loggers: Iterable[object]) -> None:
    """Tell several loggers that a run begins which continues none."""
    for logger in loggers:
        if isinstance(logger, BeginsRun):
            logger.begin_run()


def rewind(loggers: Iterable[object], step: int, saved: Any) -> None:
    """Tell several loggers that a run continues from `step`, each with its part of what `states` returned."""
    known: Mapping[Any, Any] = saved if is_mapping(saved) else {}
    for key, logger in _keyed(loggers):
        state = known.get(key)
        if isinstance(logger, Rewinds):
            logger.rewind(step, state if is_mapping(state) else {})


def finalize(loggers: Iterable[RunLogger], status: str) -> None:
    """Tell every logger how the run ended, also where one of them fails; then raise the first failure."""
    failures: list[Exception] = []
    for logger in loggers:
        try:
            logger.finalize(status)
        except Exception as error:
            failures.append(error)
    if failures:
        raise failures[0]


def checkpoint_saved(loggers: Iterable[object], path: str, callbacks: Iterable[Checkpoint]) -> None:
    """Tell several loggers, also those within a collection, that a checkpoint is at `path`.

    One whose `after_save_checkpoint` takes a `checkpoint_callback` gets the callback that has saved it, and is not
    called where none has.
    """
    savers = [each for each in callbacks if path in (each.best_model_path, each.last_model_path, *each.kept())]
    for logger in loggers:
        parts = _parts(logger)
        if parts is not None:
            checkpoint_saved(parts, path, savers)
        elif not _takes_callback(logger):
            cast(RunLogger, logger).after_save_checkpoint(path)
        elif savers:
            cast(Any, logger).after_save_checkpoint(savers[0])


def _parts(logger: object) -> Iterable[object] | None:
    """Return the loggers of a collection; None for a logger."""
    is_several = isinstance(logger, Iterable) and isinstance(logger, Sized)
    return cast("Iterable[object]", logger) if is_several else None


def _takes_callback(logger: object) -> bool:
    method = getattr(logger, "after_save_checkpoint", None)
    return callable(method) and "checkpoint_callback" in inspect.signature(method).parameters


def _keyed(loggers: Iterable[object]) -> Iterator[tuple[str, object]]:
    seen: Counter[str] = Counter()
    for logger in loggers:
        kind = type(logger).__qualname__
        seen[kind] += 1
        yield (f"{kind} {seen[kind]}" if seen[kind] > 1 else kind), logger
