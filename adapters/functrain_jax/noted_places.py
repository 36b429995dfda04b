"""What a step's program keeps of the places that a dispatch runs past, where step metrics are written or the state is
observed: the values of then, the scalars by which learning rates are known, digests of the state.

A program writes them once a place, into arrays that the host reads when the dispatch is over.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from functrain.kernel.state import Clock, Player, TrainState
from functrain.trainer.entries import TRAIN, Key
from functrain.trainer.metrics import Metrics
from functrain_jax.collect import Logged
from functrain_jax.digests import digested
from functrain_jax.placement import Placement


def places(ends: Sequence[int], size: int) -> np.ndarray:
    """Return where the parts of a dispatch of at most `size` batches begin and end: 0, the ends, and last how many
    there are. What stands between is not looked at."""
    array = np.zeros(max(size, 1) + 2, np.int32)
    array[1 : len(ends) + 1], array[-1] = ends, len(ends)
    return array


def observed(ends: Sequence[int], which: Sequence[bool], size: int) -> np.ndarray:
    """Return, beside `places`, at which of the ends the state is observed."""
    array = np.zeros(max(size, 1) + 1, np.bool_)
    array[: len(ends)] = which
    return array


def room(logged: Logged, state: TrainState, n: int, digests: bool = False) -> Any:
    """Room for n places, with `digests` for those of the state too. Traced."""
    shapes = jax.eval_shape(digested, state) if digests else None
    values, scalars = seen(logged, state)
    return jax.tree.map(lambda x: jnp.zeros((n, *x.shape), x.dtype), (values, scalars, shapes))


def noted(room: Any, i: Any, logged: Logged, state: TrainState, observed: Any = False) -> Any:
    """Return the room with what is seen now as that of place i; with digests of the state where it is observed.
    Traced."""
    *room, digests = room
    values, scalars = jax.tree.map(lambda room, x: room.at[i].set(x), tuple(room), seen(logged, state))
    if digests is not None:
        digests = lax.cond(observed, lambda room: room.at[i].set(digested(state)), lambda room: room, digests)
    return values, scalars, digests


def seen(logged: Logged, state: TrainState) -> tuple[dict[Key, Any], list[Any]]:
    """Return what is noted of one place: the last values of the steps, and the players' scalars. Traced."""
    metrics: Any = state.metrics
    values = {key: metrics["last"][key] for key, metric in logged.metrics.items() if metric.options.on_step}
    return values, _scalars(state.players)


def _scalars(players: Sequence[Player]) -> list[Any]:
    return [x for x in jax.tree.leaves([(p.opt, p.updates) for p in players]) if not x.ndim]


class Noted:
    """What one call of a program noted, by the number of the place; read from the device once, by who asks first.

    Args:
        placement: where the arrays live.
    """

    def __init__(
        self, arrays: tuple[dict[Key, jax.Array], list[jax.Array], jax.Array | None], placement: Placement
    ) -> None:
        self.arrays = arrays
        self.placement = placement

    @cached_property
    def values(self) -> dict[Key, Any]:
        """The values of the steps."""
        return self.placement.host(self.arrays[0])

    @cached_property
    def scalars(self) -> list[Any]:
        """The players' scalars."""
        return self.placement.host(self.arrays[1])

    @cached_property
    def digests(self) -> Any:
        """The digests of the state; None where it was observed nowhere."""
        return self.placement.host(self.arrays[2])


class NotedPlace(NamedTuple):
    """The end of a part of a dispatch: the position, who logged in the part, and where in `noted` its values are."""

    clock: Clock
    names: tuple[Key, ...]
    noted: Noted
    number: int

    def put(self, host: Metrics) -> None:
        """Leave its values on the host, as if the run were here."""
        last = {key: values[self.number] for key, values in self.noted.values.items()}
        host.put(TRAIN, last, {}, self.names)

    def digests(self) -> list[int]:
        """Return the digests of the state of here, where it is observed; waits for the device."""
        return self.noted.digests[self.number].tolist()

    def players(self, present: Sequence[Player]) -> list[Player]:
        """Return the players with the scalars of here; for what has axes, the present values."""
        then = iter([scalar[self.number] for scalar in self.noted.scalars])
        pairs = [(p.opt, p.updates) for p in present]
        pairs = jax.tree.map(lambda x: x if x.ndim else next(then), pairs)
        return [p._replace(opt=opt, updates=updates) for p, (opt, updates) in zip(present, pairs, strict=True)]


class NotedPlaces:
    """The parts of the last dispatch, in order, and what the metrics held of what they log before it."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Another dispatch begins."""
        self.parts: list[NotedPlace] = []
        self.here: NotedPlace | None = None
        self.before: dict[Key, tuple[int, Any]] = {}
        self.present: dict[Key, tuple[int, Any]] = {}

    def begin(self, host: Metrics, logged: Logged) -> None:
        """A program's values are about to be put into the metrics."""
        for key in logged.metrics:
            if key not in self.before:
                entry = host.entries[TRAIN][key]
                self.before[key] = (entry.at, entry.last)

    def passed(self, host: Metrics, now: Clock) -> Generator[Clock] | None:
        """Return what a dispatch that ends at `now` returns as its `passed`."""
        return self._replay(host) if self.parts and self.parts[0].clock != now else None

    def _replay(self, host: Metrics) -> Generator[Clock]:
        self.present = {key: (entry.at, entry.last) for key, entry in host.entries[TRAIN].items()}
        for key, (at, last) in self.before.items():
            entry = host.entries[TRAIN][key]
            entry.at, entry.last = at, last
        try:
            while self.parts:
                self.here = self.parts.pop(0)
                self.here.put(host)
                yield self.here.clock
        finally:
            self._end(host)

    def _end(self, host: Metrics) -> None:
        """The metrics are as they were before the replay, wherever that has ended."""
        for part in self.parts:
            part.put(host)
        for key, (at, last) in self.present.items():
            entry = host.entries[TRAIN][key]
            entry.at, entry.last = max(entry.at, at), last
        self.clear()

    def players(self, present: Sequence[Player]) -> Sequence[Player]:
        """Return the players as they were where the replay is; the present ones where there is none."""
        return present if self.here is None else self.here.players(present)
