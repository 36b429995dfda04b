"""Metrics of several processes brought together: what each of them has, by the monoid that merges over batches too.

Here values come to the host, once an epoch or a row of steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from functrain.kernel.metrics import Running
from functrain.trainer.entries import TRAIN, Entry, Options
from functrain.trainer.metrics import Metrics
from functrain.trainer.world import World

Rows = dict[int, dict[str, Any]]


def epoch_values(metrics: Metrics, stage: str, world: World) -> list[tuple[Entry, Any]]:
    """Return the epoch values of a stage; over all processes those that were logged with sync_dist, and those of metric
    objects. A metric that this process has not logged is there all the same. A collective call."""
    own = [entry for entry in metrics.filled(stage) if entry.options.on_epoch]
    numbers = [e for e in own if e.metric is None and e.options.sync_dist and e.epoch_value() is not None]
    shared = _merged(metrics, stage, world.gather({_key(entry): _sent(entry) for entry in numbers}))
    values = {key: (entry, entry.epoch_value()) for key, entry in shared.items()}
    values |= _of_objects(metrics, stage, [entry for entry in own if entry.closed is None], world)
    rest = [(entry, entry.epoch_value()) for entry in own if _key(entry) not in values]
    rest = [(entry, value) for entry, value in rest if value is not None]
    _warn_of_unshared(metrics, [entry for entry, _ in rest if entry.closed is None], world)
    return [*rest, *values.values()]


def close_objects(metrics: Metrics, world: World) -> None:
    """A loader is over, and other batches come into its metric objects now: their values are those of all processes. A
    collective call."""
    scope = metrics.current
    if not scope.suffix:
        return
    own = [entry for entry in scope.entries.values() if entry.suffix == scope.suffix and entry.at]
    for key, (entry, value) in _of_objects(metrics, scope.stage, own, world).items():
        scope.entries.setdefault(key, entry).closed = value


def _of_objects(metrics: Metrics, stage: str, entries: list[Entry], world: World) -> dict[Key, tuple[Entry, Any]]:
    """Return the values over all processes of the metric objects that any of them has logged."""
    sent: dict[Key, tuple[Any, ...]] = {}
    for entry in entries:
        path = None if entry.metric is None else metrics.objects.kinds.path(entry.metric)
        if path is not None:
            sent[_key(entry)] = entry.base, entry.suffix, tuple(entry.options), path
    known = {_key(entry): entry for entry in entries}
    found: dict[Key, tuple[Entry, Any]] = {}
    for key, (base, suffix, options, path) in sorted(_union(world.gather(sent)).items()):
        entry = known.get(key)
        if entry is None:
            options = Options(*options)
            entry = Entry(stage, key[0], base, suffix, options, metrics.monoids[options.reduce_fx])
            entry.at = 1
            entry.metric = metrics.objects.kinds.at(path)
            entry.resets = metrics.objects.kinds.owner(entry.metric)
        with metrics.objects.kinds.of_all(metrics.objects.kinds.at(path), entry.name, world):
            found[key] = entry, entry.epoch_value()
    return found


def _union(dicts: Iterable[Mapping[Key, Any]]) -> dict[Key, Any]:
    return {key: value for each in dicts for key, value in each.items()}


Key = tuple[str, str]


def _key(entry: Entry) -> Key:
    return entry.hook or "", entry.name


def _sent(entry: Entry) -> tuple[Any, ...]:
    """Return what another process needs of an entry, in plain values."""
    return entry.base, entry.suffix, tuple(entry.options), float(entry.running.total), float(entry.running.weight)


def _merged(metrics: Metrics, stage: str, gathered: Iterable[Mapping[Any, Any]]) -> dict[Any, Entry]:
    """Entries with what came together in all processes."""
    found: dict[Any, Entry] = {}
    for of_a_rank in gathered:
        for key, (base, suffix, options, total, weight) in of_a_rank.items():
            entry = found.get(key)
            if entry is None:
                options = Options(*options)
                entry = found[key] = Entry(stage, key[0], base, suffix, options, metrics.monoids[options.reduce_fx])
                entry.at = 1
            entry.running = entry.merge(entry.running, Running(total, weight))
    return found


def _warn_of_unshared(metrics: Metrics, entries: list[Entry], world: World) -> None:
    """A user may expect an epoch's value to be of all data. Say it once a stage, in one process."""
    names = sorted({entry.name for entry in entries})
    if names and world.rank == 0:
        how = "sync_dist=True makes it that of all."
        if any(entry.metric is not None for entry in entries):
            how += " A metric object has that of all where it is an attribute of the module, of a kind of torchmetrics."
        metrics.warn_once(
            f"self.log({names[0]!r}, ...): each of the {world.size} processes has an epoch's value of its own data for "
            f"{', '.join(names)}, and the loggers get that of process 0; {how}"
        )


def step_metrics(metrics: Metrics, world: World) -> dict[str, Any]:
    """Return the last step's values for the loggers, those with sync_dist over all processes. A collective call."""
    own = metrics.step_metrics()
    shared = [e for e in metrics.filled(TRAIN) if e.step_name in own and e.options.sync_dist and e.options.on_step]
    with_values = [entry for entry in shared if entry.last is not None]
    sent = {entry.step_name: (entry.options.reduce_fx, float(entry.last)) for entry in with_values}
    return {**own, **_of_steps(metrics, world.gather(sent))}


def evaluation_rows(metrics: Metrics, rows: Rows, world: World) -> Rows:
    """Return the values of single batches of an evaluation, by the number of the batch; those with sync_dist over the
    processes that have such a batch. A collective call."""
    how = {e.step_name: e.options.reduce_fx for e in metrics.current.entries.values() if e.each and e.options.sync_dist}
    sent = {
        number: {name: (how[name], float(value)) for name, value in row.items() if name in how}
        for number, row in rows.items()
    }
    everybodys = world.gather(sent)
    numbers = sorted({number for each in everybodys for number in each})
    merged = {number: _of_steps(metrics, [each.get(number, {}) for each in everybodys]) for number in numbers}
    both = {number: {**rows.get(number, {}), **merged[number]} for number in numbers}
    return {number: row for number, row in both.items() if row}


def _of_steps(metrics: Metrics, gathered: Iterable[Mapping[str, tuple[str, float]]]) -> dict[str, Any]:
    """One value of each name, of those that the processes have: how it is reduced, and what it is."""
    found: dict[str, tuple[str, Running]] = {}
    for of_a_rank in gathered:
        for name, (reduce_fx, value) in of_a_rank.items():
            monoid = metrics.monoids[reduce_fx]
            before = found[name][1] if name in found else monoid.empty
            found[name] = reduce_fx, monoid.merge(before, monoid.lift(value, 1))
    return {name: metrics.monoids[how].compute(running) for name, (how, running) in found.items()}
