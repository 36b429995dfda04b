"""What a checkpoint keeps of the loggers, and how several of them learn that a run begins, goes on, and how it ended.

A logger that keeps no state and takes no rows back is left out of these, but for the last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

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


def _keyed(loggers: Iterable[object]) -> Iterator[tuple[str, object]]:
    seen: Counter[str] = Counter()
    for logger in loggers:
        kind = type(logger).__qualname__
        seen[kind] += 1
        yield (f"{kind} {seen[kind]}" if seen[kind] > 1 else kind), logger
