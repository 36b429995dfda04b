"""Metrics of several processes brought together: what each of them has, by the monoid that merges over batches too.

Here values come to the host, once an epoch or a row of steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from functrain.kernel.metrics import Running
from functrain.trainer.entries import TRAIN, Entry, Options
from functrain.trainer.world import World

if TYPE_CHECKING:
    from functrain.trainer.metrics import Metrics


def epoch_values(metrics: Metrics, stage: str, world: World) -> list[tuple[Entry, Any]]:
    """The epoch values of a stage, those that were logged with sync_dist over all processes. A metric that this process
    has not logged is there all the same. A collective call."""
    own = metrics.epoch_values(stage)
    told = {_key(entry): _told(entry) for entry, _ in own if entry.options.sync_dist and entry.metric is None}
    shared = _merged(metrics, stage, world.gather(told))
    _tell_unshared(metrics, [entry for entry, _ in own if not entry.options.sync_dist and entry.metric is None], world)
    rest = [(entry, value) for entry, value in own if _key(entry) not in shared]
    return [*rest, *((entry, entry.epoch_value()) for entry in shared.values())]


def _key(entry: Entry) -> tuple[str, str]:
    return entry.hook or "", entry.name


def _told(entry: Entry) -> tuple[Any, ...]:
    """What another process needs of an entry, in plain values."""
    return entry.base, entry.suffix, tuple(entry.options), float(entry.running.total), float(entry.running.weight)


def _merged(metrics: Metrics, stage: str, told: Iterable[Mapping[Any, Any]]) -> dict[Any, Entry]:
    """Entries with what came together in all processes."""
    found: dict[Any, Entry] = {}
    for of_a_rank in told:
        for key, (base, suffix, options, total, weight) in of_a_rank.items():
            entry = found.get(key)
            if entry is None:
                options = Options(*options)
                entry = found[key] = Entry(stage, key[0], base, suffix, options, metrics.monoids[options.reduce_fx])
                entry.at = 1
            entry.running = entry.merge(entry.running, Running(total, weight))
    return found


def _tell_unshared(metrics: Metrics, entries: list[Entry], world: World) -> None:
    """A user may expect an epoch's value to be of all data. Say it once a stage, in one process."""
    names = sorted({entry.name for entry in entries})
    if names and world.rank == 0:
        metrics.tell(
            f"self.log({names[0]!r}, ...): each of the {world.size} processes has an epoch's value of its own data for "
            f"{', '.join(names)}, and the loggers get that of process 0; sync_dist=True makes it that of all."
        )


def step_metrics(metrics: Metrics, world: World) -> dict[str, Any]:
    """The last step's values for the loggers, those with sync_dist over all processes. A collective call."""
    own = metrics.step_metrics()
    shared = [e for e in metrics.filled(TRAIN) if e.step_name in own and e.options.sync_dist and e.options.on_step]
    told = {entry.step_name: (entry.options.reduce_fx, float(entry.last)) for entry in shared if entry.last is not None}
    found: dict[str, tuple[str, Running]] = {}
    for of_a_rank in world.gather(told):
        for name, (reduce_fx, value) in of_a_rank.items():
            monoid = metrics.monoids[reduce_fx]
            before = found[name][1] if name in found else monoid.empty
            found[name] = reduce_fx, monoid.merge(before, monoid.lift(value, 1))
    return {**own, **{name: metrics.monoids[how].compute(running) for name, (how, running) in found.items()}}
