"""Objects that accumulate by themselves (torchmetrics) and were logged. They live in the module, longer than a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from typing import Any

from functrain.trainer.adapter import MetricObjects
from functrain.trainer.entries import TRAIN, Entry
from functrain.trainer.narrow import is_mapping
from functrain.trainer.world import World


class LoggedObjects:
    """The metric objects that runs of one module have logged.

    Args:
        kinds: what is known of such objects.
        by_stage: those of runs before this one; it is added to.
    """

    def __init__(self, kinds: MetricObjects, by_stage: dict[str, list[Any]]) -> None:
        self.kinds = kinds
        self.by_stage = by_stage
        self._put_back: Callable[[], None] | None = None

    def set_aside(self) -> None:
        """Another run of the module is under way, which has not read them yet."""
        self._put_back = self.kinds.kept([metric for objects in self.by_stage.values() for metric in objects])

    def give_back(self) -> None:
        """The run is over: those that were set aside are as they were."""
        if self._put_back is not None:
            self._put_back()
            self._put_back = None

    def start(self, stage: str) -> None:
        """A run begins: what they still hold of runs that were cut short is not its own."""
        for known, objects in self.by_stage.items():
            if stage == TRAIN or known != TRAIN:
                for metric in objects:
                    metric.reset()

    def take(self, entry: Entry, metric: Any) -> None:
        """The entry logs this object, and has logged nothing before.

        Raises:
            ValueError: it has.
            TypeError: it is several objects.
        """
        if entry.at:
            raise two_kinds(entry)
        if is_mapping(metric) or hasattr(metric, "items"):
            raise TypeError(
                f"self.log({entry.name!r}, ...): {type(metric).__name__} is a collection of metrics; log it with "
                "self.log_dict."
            )
        self.link(entry, metric)

    def link(self, entry: Entry, metric: Any) -> None:
        """The entry's value is this metric object's."""
        entry.metric, entry.resets = metric, self.kinds.owner(metric)
        known = self.by_stage.setdefault(entry.stage, [])
        if not any(entry.resets is other for other in known):
            known.append(entry.resets)


class Unknown:
    """Metric objects of which nothing is known. See `functrain.trainer.adapter.MetricObjects`."""

    def owner(self, metric: Any) -> Any:
        """Return the object itself."""
        return metric

    def path(self, metric: Any) -> str | None:
        """None: each process has its own."""

    def at(self, path: str) -> Any:
        """Nothing has a place."""
        raise LookupError(path)

    def kept(self, logged: Sequence[Any]) -> Callable[[], None]:
        """The attributes of those that were logged, and what is in lists and dicts among them."""
        all_attributes: list[dict[str, Any]] = [vars(metric) for metric in logged]
        states = [
            (attributes, {name: copy(value) for name, value in attributes.items()}) for attributes in all_attributes
        ]

        def restore() -> None:
            for attributes, before in states:
                attributes.clear()
                attributes.update(before)

        return restore

    def of_all(self, metric: Any, name: str, world: World) -> AbstractContextManager[None]:
        """Nothing changes."""
        return nullcontext()


def two_kinds(entry: Entry) -> ValueError:
    """Return the error for a name under which a metric object was logged, and now a number, or the other way round."""
    kind = type(entry.metric).__name__ if entry.metric is not None else "number"
    return ValueError(
        f"self.log({entry.name!r}, ...): a {kind} was logged under this name in {entry.hook or 'this run'} before, and "
        "now another value than that object; give them different names."
    )
