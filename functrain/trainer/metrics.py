"""What `self.log` collects: running values by hook and name, computed at log boundaries. Touches values only by
operators.

Values stay where they are (a tensor on its device) until somebody reads them; collecting forces no synchronisation.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from functrain.kernel.metrics import Running, monoids
from functrain.trainer.adapter import Inspector
from functrain.trainer.entries import (
    LATE_HOOKS,
    TRAIN,
    VALIDATION,
    Declared,
    Entry,
    Key,
    Options,
    contradiction,
    scalar,
    suffix_of,
    widened,
)
from functrain.trainer.metric_objects import LoggedObjects, Unknown, two_kinds
from functrain.trainer.scopes import HookScope, Record, Scope


def _maximum(a: Any, b: Any) -> Any:
    """Return the larger scalar, NaN where either is; for numbers and for arrays on the host's side of a run."""
    if a != a:
        return a
    return b if b > a or b != b else a


class Metrics:
    """The metrics of a run.

    Attributes:
        current: what calls belong to now: the innermost scope that was entered, or, where none was, what is set up
            before training and taken down after it.
        entries: what was logged, by stage, then by hook and name.
        latest: what users and callbacks read by name: the last values of the stages that are over.
        results: the epoch values of the stage that ended last.
        logged: what went to the loggers last.
        rows: values of single evaluation steps that wait for the loggers, by the number of the loader's batch;
            collected where `keeps_rows` is set.
        objects: the metric objects that were logged.
    """

    def __init__(
        self,
        maximum: Callable[[Any, Any], Any] = _maximum,
        sizes: Callable[[Any], int | None] | None = None,
    ) -> None:
        self.monoids = monoids(maximum)
        self.entries: dict[str, dict[Key, Entry]] = {}
        self.latest: dict[str, Any] = {}
        self.results: dict[str, Any] = {}
        self.logged: dict[str, Any] = {}
        self.sizes = sizes
        self.objects = LoggedObjects(Unknown(), {})
        self.keeps_rows = False
        self.rows: dict[int, dict[str, Any]] = {}
        self.calls = self._folded = 0
        self._warned: set[str] = set()
        self.current = Scope(self, TRAIN)

    def serve(self, module: Any, inspector: Inspector, rows: bool) -> None:
        """Take what this module logs in a run; with `rows` single evaluation steps too."""
        self.sizes, self.keeps_rows = inspector.batch_size, rows
        attributes: dict[str, Any] = module.__dict__
        self.objects = LoggedObjects(inspector.metric_objects, attributes.setdefault("_logged_objects", {}))

    # where values come from

    def scope(
        self, stage: str, step: bool = False, loader: int | None = None, ends: bool = False,
        place: Callable[[], int] = int,
    ) -> Scope:  # fmt: skip
        """Return what calls belong to within `with`.

        Args:
            step: it is around steps and what is called at every batch.
            loader: the number of the loader, where there are several.
            ends: the stage's epoch is ending: `callback_metrics` has its values, though hooks may still log.
            place: returns the place of the batch in its loader; default: the first.
        """
        return Scope(self, stage, step, suffix_of(loader), ends, place)

    def collecting(self, value_of: Callable[[str, Any], Any]) -> Scope:
        """Within `with` a step's calls are recorded, in `scope.records`, and nothing else becomes of them: for steps
        that are traced. They are those of a step of the present scope.

        Args:
            value_of: makes of a name and a value what is recorded, or raises.
        """
        scope = Scope(self, self.current.stage, True, self.current.suffix)
        scope.records, scope.value_of = [], value_of
        return scope

    def in_hook(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a hook's call, in a scope of its own."""

        def called(*args: Any) -> Any:
            outer = self.current
            self.current = HookScope(outer, name)
            try:
                return call(*args)
            finally:
                self.current = outer

        return called

    # collecting

    def log(
        self,
        name: str,
        value: Any,
        prog_bar: bool = False,
        logger: bool = True,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: Any = "mean",
        batch_size: Any = None,
        add_dataloader_idx: bool = True,
        sync_dist: bool = False,
    ) -> None:
        """Collect one value, or record it; see `LightningModule.log`."""
        scope = self.current
        suffix = scope.suffix if add_dataloader_idx else ""
        given = (prog_bar, logger, on_step, on_epoch, reduce_fx, sync_dist)
        if scope.records is not None:
            self._record(scope.records, scope.declared(name, suffix, *given), value, batch_size)
            return
        entry = scope.entries.get((scope.hook, name + suffix if suffix else name))
        if entry is None or entry.given != given:
            entry = self.entry(scope.declared(name, suffix, *given))
            entry.given = given
        detach = getattr(value, "detach", None)
        if detach is not None:
            value = detach()
        elif hasattr(value, "compute"):
            self._log_object(entry, value)
            return
        elif not isinstance(value, int | float) and not hasattr(value, "shape"):
            raise TypeError(f"self.log({name!r}, {repr(value)[:60]}): log a number, a scalar array or a metric object.")
        if entry.metric is not None and entry.at:
            raise two_kinds(entry)
        if getattr(value, "ndim", 0):
            value = scalar(name, value)
        dtype = getattr(value, "dtype", None)
        if dtype is not None and dtype.itemsize < 4:
            value = widened(value)
        self.calls = entry.at = self.calls + 1
        entry.last = value
        if entry.options.on_epoch:
            weight = batch_size if batch_size is not None else self._batch_size()
            entry.running = entry.merge(entry.running, entry.lift(value, weight))
        if entry.each:
            self.note_row(entry, scope.place(), value)

    def _record(self, records: list[Record], declared: Declared, value: Any, batch_size: Any) -> None:
        assert self.current.value_of is not None
        value = self.current.value_of(declared.base, value)
        weight = self._batch_size() if batch_size is None and declared.options.on_epoch else batch_size
        records.append(Record(declared, value, weight))

    def _log_object(self, entry: Entry, metric: Any) -> None:
        """The value of an object that accumulates by itself is asked for when it is due."""
        if entry.metric is not metric:
            self._take_object(entry, metric)
        self.calls = entry.at = self.calls + 1
        entry.last = getattr(metric, "_forward_cache", None)
        if entry.options.on_step and entry.last is None:
            self.warn_once(
                f"self.log({entry.name!r}, ..., on_step=True): {type(metric).__name__} has no value of this step, "
                "since it was only updated; call it (`metric(...)` in place of `metric.update(...)`), or log it with "
                "on_epoch=True alone."
            )
        elif entry.each and entry.last is not None:
            self.note_row(entry, self.current.place(), entry.last)

    def _take_object(self, entry: Entry, metric: Any) -> None:
        self.objects.take(entry, metric)
        # Either may come first: a sanity check validates before anything is trained.
        other = {TRAIN: VALIDATION, VALIDATION: TRAIN}.get(entry.stage, "")
        if any(entry.resets is e.resets for e in self.entries.get(other, {}).values()):
            self.warn_once(
                f"self.log({entry.name!r}, ...): one {type(metric).__name__} object is logged in training and in "
                "validation, which comes within the training epoch: their values are mixed. Give each an object of its "
                "own."
            )

    def entry(self, declared: Declared) -> Entry:
        """Return the entry of a metric of the present stage: made where this is its first call, else checked.

        Raises:
            ValueError: it was logged with other options by the same hook.
        """
        entries, options = self.current.entries, declared.options
        entry = entries.get(declared.key) or _taken_over(entries, declared.key)
        if entry is None:
            entry = entries[declared.key] = self._new(declared)
        elif entry.options != options:
            if entry.given is not None:
                raise contradiction(entry.options, declared)
            self._continue_with(entry, options)
        entry.each = options.on_step and options.logger and self.current.stage != TRAIN and self.keeps_rows
        if entry.given is None:
            entry.given = ()
        return entry

    def _new(self, declared: Declared) -> Entry:
        if declared.hook in LATE_HOOKS:
            self.warn_once(
                f"self.log({declared.base!r}, ...) in {declared.hook}: the values of its stage are out already, so "
                "this one reaches nobody; log it in a hook that comes before the epoch's end, or give it to "
                "self.logger.log_metrics."
            )
        return Entry(self.current.stage, *declared, self.monoids[declared.options.reduce_fx])

    def _continue_with(self, entry: Entry, options: Options) -> None:
        """The program was changed since the checkpoint: its options count from now on."""
        if options.reduce_fx != entry.options.reduce_fx and entry.options.on_epoch:
            self.warn_once(
                f"self.log({entry.name!r}, ..., reduce_fx={options.reduce_fx!r}): the checkpoint holds what came "
                f"together by {entry.options.reduce_fx!r} in its epoch; this epoch's value begins anew."
            )
            entry.running = self.monoids[options.reduce_fx].empty
        entry.treat(options, self.monoids[options.reduce_fx])

    def put(self, stage: str, last: Mapping[Key, Any], running: Mapping[Key, Running], keys: Iterable[Key]) -> None:
        """Take what a program returned whose steps were traced: of each of these keys, in order, one call, with the
        value of its last step and the epoch's running value, where there is one. Nothing is read or waited for."""
        for key in keys:
            entry = self.entries[stage][key]
            self.calls = entry.at = self.calls + 1
            if key in last:
                entry.last = last[key]
            if key in running:
                entry.running = running[key]

    def note_row(self, entry: Entry, number: int, value: Any) -> None:
        """Keep one evaluation step's value for the loggers."""
        self.rows.setdefault(number, {})[entry.step_name] = value

    def take_rows(self) -> dict[int, dict[str, Any]]:
        """Return the rows that wait for the loggers, which are not kept any longer."""
        if not self.rows:
            return {}
        rows, self.rows = self.rows, {}
        return rows

    def warn_once(self, message: str) -> None:
        """Warn, once a run."""
        if message not in self._warned:
            self._warned.add(message)
            warnings.warn(message, UserWarning, stacklevel=5)

    def _batch_size(self) -> int:
        batch = self.current.batch
        if self.sizes is None or (batch is None and not self.current.step):
            return 1  # no batch is under way; within a step None is the batch itself
        size = self.sizes(batch)
        if size is None:
            self.warn_once(_no_size("number" if getattr(batch, "ndim", None) == 0 else type(batch).__name__))
        return 1 if size is None else size

    # epochs

    def reset(self, stage: str) -> None:
        """A new epoch of this stage: running values start empty."""
        self.rows = {}
        for entry in self.entries.get(stage, {}).values():
            entry.reset()

    def advance_epoch(self, stage: str) -> None:
        """An epoch is over: what was computed starts empty. What was logged since (as `on_train_start` does in a run
        that continues here) is for the next epoch."""
        for entry in self.entries.get(stage, {}).values():
            if not self.is_fresh(entry):
                entry.reset()

    def end_loader(self) -> None:
        """A loader is over; where there are several, metric objects give its value, and are empty for the next."""
        suffix = self.current.suffix
        if not suffix:
            return
        own = [e for e in self.current.entries.values() if e.suffix == suffix and e.metric is not None and e.at]
        for entry in own:
            entry.close()
        for entry in own:
            entry.resets.reset()

    # reading

    def filled(self, stage: str) -> list[Entry]:
        """Return the entries that something came into, in the order of their last call."""
        return sorted((e for e in self.entries.get(stage, {}).values() if e.at), key=_when)

    def step_metrics(self, stage: str = TRAIN) -> dict[str, Any]:
        """Return the last step's values of this stage that go to the loggers."""
        return {
            entry.step_name: entry.last
            for entry in self.filled(stage)
            if entry.options.on_step and entry.last is not None and entry.options.logger
        }

    def end_epoch(
        self, stage: str, values_of: Callable[[str], list[tuple[Entry, Any]]] | None = None
    ) -> dict[str, Any]:
        """Compute the epoch values of a stage, make them readable, and return those that go to the loggers.

        Args:
            values_of: computes them; default: `epoch_values`, of this process alone.
        """
        for known in self.entries:
            self.logged.update(self.step_metrics(known))
        self.latest.update(self._last_values())
        self._folded = self.calls
        values = (values_of or self.epoch_values)(stage)
        self.results = {entry.epoch_name: value for entry, value in values}
        self.latest.update(_by_both_names(values))
        return {entry.epoch_name: value for entry, value in values if entry.options.logger}

    def epoch_values(self, stage: str) -> list[tuple[Entry, Any]]:
        """Return what came together in this process, in the order of the last calls."""
        entries = [entry for entry in self.filled(stage) if entry.options.on_epoch]
        values = [(entry, entry.epoch_value()) for entry in entries]
        return [(entry, value) for entry, value in values if value is not None]

    def _last_values(self) -> dict[str, Any]:
        """Return the last step's values that came after the last epoch's end. An evaluation's plain name is the
        epoch's."""
        fresh = [e for entries in self.entries.values() for e in entries.values() if self.is_fresh(e)]
        steps = [e for e in sorted(fresh, key=_when) if e.options.on_step and e.last is not None]
        metrics: dict[str, Any] = {}
        for entry in steps:
            metrics[entry.step_name] = entry.last
            if entry.stage == TRAIN or not entry.options.on_epoch:
                metrics[entry.name] = entry.last
        return metrics

    def callback_metrics(self) -> dict[str, Any]:
        """Everything that was logged, the latest under each name: steps' values, and epochs' once they are over."""
        ending = _by_both_names(self.epoch_values(self.current.stage)) if self.current.ends else {}
        return {**self.latest, **self._last_values(), **ending}

    def progress_bar_metrics(self) -> dict[str, Any]:
        """Return what `prog_bar=True` asked for: the last step's values and the epochs' ones."""
        known = {**self.latest, **self._last_values()}
        shown = [e for entries in self.entries.values() for e in entries.values() if e.options.prog_bar]
        return {name: known[name] for entry in shown for name in entry.names if name in known}

    @property
    def fit_stages(self) -> list[str]:
        """The stages of a fit that were begun."""
        return [stage for stage in (TRAIN, VALIDATION) if stage in self.entries]

    def is_fresh(self, entry: Entry) -> bool:
        """Return whether something came into it since the last epoch's end."""
        return entry.at > self._folded

    def continue_at(self, calls: int, folded: int) -> None:
        """Count calls on from here."""
        self.calls, self._folded = max(self.calls, calls), folded


def _when(entry: Entry) -> int:
    return entry.at


def _taken_over(entries: dict[Key, Entry], key: Key) -> Entry | None:
    """Return an entry whose checkpoint does not say which hook it belongs to."""
    entry = entries.pop((None, key[1]), None)
    if entry is not None:
        entry.hook = key[0]
        entries[key] = entry
    return entry


def _by_both_names(values: Iterable[tuple[Entry, Any]]) -> dict[str, Any]:
    """Epoch values under their own and their plain name."""
    return {name: value for entry, value in values for name in (entry.epoch_name, entry.name)}


def _no_size(kind: str) -> str:
    """Return what to say where a batch does not tell how many samples it has."""
    return (
        f"self.log: a batch of type {kind} has no tensor that tells how many samples it holds, so each batch counts "
        "the same in an epoch's mean; pass batch_size= to self.log."
    )
