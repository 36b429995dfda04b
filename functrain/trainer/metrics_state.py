"""What a checkpoint keeps of the metrics of a fit: plain containers of scalars. Written and read here alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from typing import Any

from functrain.kernel.metrics import Running
from functrain.trainer.entries import Entry, Options
from functrain.trainer.metrics import Metrics
from functrain.trainer.narrow import is_list

# A run that continues from a checkpoint calls them anew, so what they log comes again.
ONCE_A_RUN = ("setup", "on_fit_start", "on_pretrain_routine_start", "on_pretrain_routine_end", "on_train_start")


def state_dict(metrics: Metrics) -> dict[str, Any]:
    """Return the running values by stage, with the order of their last calls: how many calls there were depends on the
    machine, so only the order is kept."""
    entries = sorted((e for known in metrics.entries.values() for e in known.values() if e.at), key=lambda e: e.at)
    places = {id(entry): i for i, entry in enumerate(entries, 1)}
    folded = sum(not metrics.is_fresh(entry) for entry in entries)
    stages = {
        stage: [_entry(e, places.get(id(e), 0)) for e in metrics.entries[stage].values()]
        for stage in metrics.fit_stages
    }
    return {"stages": stages, "calls": len(entries), "folded": folded}


def _entry(e: Entry, at: int) -> dict[str, Any]:
    return {
        "hook": e.hook, "base": e.base, "suffix": e.suffix, "options": list(e.options), "at": at,
        "total": e.running.total, "weight": e.running.weight, "last": e.last,
    }  # fmt: skip


def kept(metrics: Metrics) -> Callable[[], None]:
    """Return what makes the metrics be again as they are now, but for what metric objects have seen."""
    known = {stage: [(key, e, copy(e)) for key, e in own.items()] for stage, own in metrics.entries.items()}
    dicts: tuple[dict[Any, Any], ...] = (metrics.latest, metrics.logged, metrics.rows)
    calls = metrics.calls
    before: list[tuple[dict[Any, Any], dict[Any, Any]]] = [(own, dict(own)) for own in dicts]

    def restore() -> None:
        metrics.calls = calls
        for stage, own in metrics.entries.items():
            own.clear()
            for key, entry, then in known.get(stage, ()):
                own[key] = entry
                for name in Entry.__slots__:
                    setattr(entry, name, getattr(then, name))
        for own, then in before:
            own.clear()
            own.update(then)

    return restore


def shown(metrics: Metrics) -> dict[str, Any]:
    """Return what users and callbacks read by name, for the loop's part of a checkpoint."""
    return {"published": dict(metrics.latest), "logged": dict(metrics.logged)}


def links(metrics: Metrics, place: Callable[[Entry], str | None]) -> dict[str, list[list[Any]]]:
    """Whose value it is where a metric object was logged: by stage a list of [hook, name, place].

    Args:
        place: of an entry's metric object, as a string; None where it has none.
    """
    entries = {stage: metrics.entries[stage].values() for stage in metrics.fit_stages}
    places = {stage: [(e, place(e)) for e in own if e.metric is not None] for stage, own in entries.items()}
    return {stage: [[e.hook, e.name, at] for e, at in own if at is not None] for stage, own in places.items()}


def load_shown(metrics: Metrics, state: Mapping[str, Any]) -> None:
    """Take back what `shown` returned."""
    metrics.latest.update(state["published"])
    metrics.logged.update(state["logged"])


def load_links(metrics: Metrics, saved: Mapping[str, Any], objects: Mapping[str, Any]) -> None:
    """Take back what `links` returned, after `load_state`: the metrics know again whose values they publish.

    Args:
        objects: the metric objects by place.
    """
    for stage, own in saved.items():
        entries = metrics.entries.get(stage, {})
        # Before hooks were told apart the places were kept by name.
        for hook, name, at in own if is_list(own) else [(None, *item) for item in own.items()]:
            if (hook, name) in entries and at in objects:
                metrics.objects.link(entries[hook, name], objects[at])


def load_state(metrics: Metrics, state: Mapping[str, Any]) -> None:
    """Take back what `state_dict` returned."""
    state = state if "stages" in state else _of_before(state)
    metrics.continue_at(state["calls"], state["folded"])
    for stage, entries in state["stages"].items():
        for saved in entries:
            if saved["hook"] not in ONCE_A_RUN:
                _load_entry(metrics, stage, saved)


def _load_entry(metrics: Metrics, stage: str, saved: Mapping[str, Any]) -> None:
    options = Options(*saved["options"])
    entry = Entry(stage, saved["hook"], saved["base"], saved["suffix"], options, metrics.monoids[options.reduce_fx])
    entry.running, entry.last = Running(saved["total"], saved["weight"]), saved["last"]
    entry.at = saved["at"]
    metrics.entries.setdefault(stage, {})[entry.hook, entry.name] = entry


def _of_before(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a checkpoint of format 1: a name belongs to the hook that logs it next."""
    stages = {
        stage: [{"hook": None, "base": name, "suffix": "", "at": 1, **saved} for name, saved in entries.items()]
        for stage, entries in state.items()
    }
    return {"stages": stages, "calls": 1, "folded": 0}
