"""What stands for a logger, or for a tracking library's own object, where nothing is to be written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any, TypeVar

from functrain.loggers.base import Logger
from functrain.trainer.world import find

Owner = TypeVar("Owner")


class DummyExperiment:
    """Stands for a library's own object in a process that does not write: whatever is called does nothing."""

    def __getattr__(self, name: str) -> DummyExperiment:
        if name.startswith("__"):
            raise AttributeError(name)  # what copies and pickles look for
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> DummyExperiment:
        return self

    def __getitem__(self, name: Any) -> DummyExperiment:
        return self

    def __setitem__(self, name: Any, value: Any) -> None:
        pass

    def nop(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing."""


class DummyLogger(Logger):
    """A logger that records nothing, for code that wants one."""

    def __init__(self) -> None:
        super().__init__()
        self._experiment = DummyExperiment()

    @property
    def name(self) -> str:
        """Of no experiment."""
        return ""

    @property
    def version(self) -> str:
        """Of no run."""
        return ""

    @property
    def experiment(self) -> DummyExperiment:
        """An object whose methods do nothing."""
        return self._experiment

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Do nothing."""

    def log_hyperparams(self, params: Any, metrics: Mapping[str, float] | float | None = None) -> None:
        """Do nothing."""

    def __getitem__(self, index: int) -> DummyLogger:
        return self

    def __iter__(self) -> Iterator[DummyLogger]:
        yield self


def rank_zero_experiment(fn: Callable[[Owner], Any]) -> Callable[[Owner], Any]:
    """Return the getter of a logger's `experiment` for one's own class: in every process but the first it gives an
    object whose methods do nothing, and `fn` is not called::

        @property
        @rank_zero_experiment
        def experiment(self): ...
    """

    @wraps(fn)
    def experiment(self: Owner) -> Any:
        return fn(self) if find().rank == 0 else DummyExperiment()

    return experiment
