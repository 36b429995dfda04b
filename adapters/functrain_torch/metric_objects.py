"""Metric objects that accumulate by themselves (torchmetrics): what empties them, and their values over all processes
of a run. Imports no torchmetrics."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from torch import Tensor, nn

from functrain.trainer.errors import ConfigurationError
from functrain.trainer.metric_objects import Unknown
from functrain.trainer.world import World
from functrain_torch import metric_states


class Metric(Protocol):
    """What is used of a metric object of torchmetrics."""

    sync_on_compute: bool
    dist_sync_fn: Callable[..., Any] | None
    distributed_available_fn: Callable[[], bool] | None
    _computed: Any


class MetricObjects:
    """See `functrain.trainer.adapter.MetricObjects`."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def owner(self, metric: Any) -> Any:
        """Return the collection of the module that it is part of, whose parts share their states; else itself."""
        for part in self.module.modules():
            if hasattr(part, "_compute_groups_create_state_ref") and any(metric is own for own in part.children()):
                return part
        return metric

    def path(self, metric: Any) -> str | None:
        """None where the user has said that it is not to be brought together."""
        if not getattr(metric, "sync_on_compute", False):
            return None
        return next((path for path, own in metric_states.found(self.module).items() if own is metric), None)

    def at(self, path: str) -> Any:
        return metric_states.found(self.module)[path]

    def kept(self, logged: Sequence[Any]) -> Callable[[], None]:
        states, parts = metric_states.states(self.module, copied=True), {id(part) for part in self.module.modules()}
        restore_others = Unknown().kept([metric for metric in logged if id(metric) not in parts])

        def restore() -> None:
            metric_states.load_states(self.module, states)
            restore_others()

        return restore

    @contextmanager
    def of_all(self, metric: nn.Module, name: str, world: World) -> Iterator[None]:
        """The states are gathered and reduced by torchmetrics itself, as each metric's `dist_reduce_fx` says."""
        exchange = Exchange(world, name)
        parts: list[Any] = list(metric_states.found(metric).values())
        before = [(part, part.dist_sync_fn, part.distributed_available_fn) for part in parts]
        try:
            for part in parts:
                _set(part, part.dist_sync_fn or exchange, _yes)
            with warnings.catch_warnings():
                # This process may have seen none of what the others have.
                warnings.filterwarnings("ignore", "The ``compute`` method of metric")
                yield
            exchange.end()
        finally:
            for part, gather, available in before:
                _set(part, gather, available)


def _set(metric: Metric, gather: Callable[..., Any] | None, available: Callable[[], bool] | None) -> None:
    metric.dist_sync_fn, metric.distributed_available_fn, metric._computed = gather, available, None


def _yes() -> bool:
    return True


class Exchange:
    """Gathers one metric's states, tensor by tensor; the processes have as many.

    Raises:
        ConfigurationError: they have not; says of which metric.
    """

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name

    def __call__(self, tensor: Tensor, group: Any = None) -> list[Tensor]:
        return [each.to(tensor.device) for each in self._gather(tensor.detach().cpu())]

    def end(self) -> None:
        """No more tensors come."""
        self._gather(None)

    def _gather(self, tensor: Tensor | None) -> list[Any]:
        told = self.world.gather((self.name, tensor))
        if any(name != self.name or (each is None) != (tensor is None) for name, each in told):
            raise ConfigurationError(
                f"self.log({self.name!r}, ...): the processes have different numbers of states of this metric object, "
                "so they cannot be brought together. Give its list states dist_reduce_fx='cat', or make it with "
                "sync_on_compute=False, which leaves each process its own value."
            )
        return [each for _, each in told]
