"""What `self.log` collects: running values by hook and name, published at log boundaries. Touches values only by
operators.

Values stay where they are (a tensor on its device) until somebody reads them; collecting forces no synchronisation.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from functrain.kernel.metrics import monoids
from functrain.trainer import all_ranks
from functrain.trainer.adapter import Inspector, MetricObjects
from functrain.trainer.entries import (
    LATE_HOOKS,
    TRAIN,
    VALIDATION,
    Entry,
    Options,
    check_name,
    contradiction,
    reduction,
    scalar,
    widened,
)
from functrain.trainer.narrow import is_mapping
from functrain.trainer.world import Alone, World

ALONE = Alone()

Key = tuple[str | None, str]
"""A hook, and the name that it logs, with the loader's suffix."""


def _maximum(a: Any, b: Any) -> Any:
    """The larger scalar, NaN where either is; for numbers and for arrays on the host's side of a run."""
    if a != a:
        return a
    return b if b > a or b != b else a


class Metrics:
    """The metrics of a run.

    Attributes:
        entries: what was logged, by stage, then by hook and name.
        published: what users and callbacks read by name: the last values of the stages that are over.
        results: the epoch values of the stage that was published last.
        closing: the stage whose epoch is ending: its values are whole already, though hooks may still log.
        logged: what went to the loggers last.
        hook: the hook or step that is being called: whoever calls one sets it.
        rows: values of single evaluation steps that wait for the loggers, by the number of the loader's batch;
            collected where `keeps_rows` is set.
        objects: the metric objects that were logged, by stage; longer than one run, as they live in the module.

    `stage` and `default` say what is being run and what `on_step` / `on_epoch` mean where a call leaves them out:
    within a training step, on_step; elsewhere, on_epoch.
    """

    def __init__(self, maximum: Callable[[Any, Any], Any] = _maximum) -> None:
        self.monoids = monoids(maximum)
        self.entries: dict[str, dict[Key, Entry]] = {}
        self.published: dict[str, Any] = {}
        self.results: dict[str, Any] = {}
        self.closing: str | None = None
        self.logged: dict[str, Any] = {}
        self.sizes: Callable[[Any], int | None] | None = None
        self.kinds: MetricObjects = Unknown()
        self.objects: dict[str, list[Any]] = {}
        self.keeps_rows = False
        self.rows: dict[int, dict[str, Any]] = {}
        self.number = 0
        self.now = self._folded = 0
        self._told: set[str] = set()
        self.begin(TRAIN, in_step=False)

    def serve(self, module: Any, inspector: Inspector, rows: bool) -> None:
        """Take what this module logs in a run; with `rows` single evaluation steps too."""
        self.sizes, self.keeps_rows = inspector.batch_size, rows
        self.kinds = inspector.metric_objects
        attributes: dict[str, Any] = module.__dict__
        self.objects = attributes.setdefault("_logged_objects", {})

    def begin(self, stage: str, in_step: bool, suffix: str = "") -> None:
        """From now on calls come from this stage; `suffix` tells several loaders apart."""
        self.stage = stage
        self.current = self.entries.setdefault(stage, {})
        self.in_step = in_step
        self.hook = _step_of(stage) if in_step else ""
        self.suffix = suffix
        self.batch: Any = None

    def log(
        self,
        name: str,
        value: Any,
        prog_bar: bool = False,
        logger: bool = True,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: Any = "mean",
        batch_size: int | None = None,
        add_dataloader_idx: bool = True,
        sync_dist: bool = False,
    ) -> None:
        """Collect one value; see `LightningModule.log`."""
        suffix = self.suffix if add_dataloader_idx else ""
        entry = self.current.get((self.hook, name + suffix if suffix else name))
        given = (prog_bar, logger, on_step, on_epoch, reduce_fx, sync_dist)
        if entry is None or entry.given != given:
            options = self.options(*given)
            entry = self.entry(self.hook, name, suffix, options)
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
            raise _two_kinds(entry)
        if getattr(value, "ndim", 0):
            value = scalar(name, value)
        dtype = getattr(value, "dtype", None)
        if dtype is not None and dtype.itemsize < 4:
            value = widened(value)
        self.now = entry.at = self.now + 1
        entry.last = value
        if entry.options.on_epoch:
            weight = batch_size if batch_size is not None else self._batch_size()
            entry.running = entry.merge(entry.running, entry.lift(value, weight))
        if entry.each:
            self.note_row(entry, self.number, value)

    def _log_object(self, entry: Entry, metric: Any) -> None:
        """The value of an object that accumulates by itself is asked for when it is due."""
        if entry.metric is not metric:
            self._take_object(entry, metric)
        self.now = entry.at = self.now + 1
        entry.last = getattr(metric, "_forward_cache", None)
        if entry.options.on_step and entry.last is None:
            self.tell(
                f"self.log({entry.name!r}, ..., on_step=True): {type(metric).__name__} has no value of this step, "
                "since it was only updated; call it (`metric(...)` in place of `metric.update(...)`), or log it with "
                "on_epoch=True alone."
            )
        elif entry.each and entry.last is not None:
            self.note_row(entry, self.number, entry.last)

    def _take_object(self, entry: Entry, metric: Any) -> None:
        if entry.at:
            raise _two_kinds(entry)
        if is_mapping(metric) or hasattr(metric, "items"):
            raise TypeError(
                f"self.log({entry.name!r}, ...): {type(metric).__name__} is a collection of metrics; log it with "
                "self.log_dict."
            )
        self.link(entry, metric)
        # Either may come first: a sanity check validates before anything is trained.
        other = {TRAIN: VALIDATION, VALIDATION: TRAIN}.get(self.stage, "")
        if any(entry.resets is e.resets for e in self.entries.get(other, {}).values()):
            self.tell(
                f"self.log({entry.name!r}, ...): one {type(metric).__name__} object is logged in training and in "
                "validation, which comes within the training epoch: their values are mixed. Give each an object of its "
                "own."
            )

    def link(self, entry: Entry, metric: Any) -> None:
        """The entry's value is this metric object's."""
        entry.metric, entry.resets = metric, self.kinds.owner(metric)
        known = self.objects.setdefault(entry.stage, [])
        if not any(entry.resets is other for other in known):
            known.append(entry.resets)

    def options(
        self,
        prog_bar: bool,
        logger: bool,
        on_step: bool | None,
        on_epoch: bool | None,
        reduce_fx: Any,
        sync_dist: bool,
    ) -> Options:
        """Fill in what a call left out, by where it was made."""
        if on_step is None:
            on_step = self.in_step and self.stage == TRAIN
        if on_epoch is None:
            on_epoch = not (self.in_step and self.stage == TRAIN)
        return Options(on_step, on_epoch, prog_bar, logger, reduction(reduce_fx), bool(sync_dist))

    def entry(self, hook: str, name: str, suffix: str, options: Options) -> Entry:
        """The entry of a metric of this stage: made where this is its first call, else checked.

        Raises:
            ValueError: it is not logged at all, or was logged with other options by the same hook.
        """
        key = (hook, name + suffix if suffix else name)
        entry = self.current.get(key) or self._taken_over(key)
        if entry is None:
            entry = self.current[key] = self._declared(hook, name, suffix, options)
        elif entry.options != options:
            if entry.given is not None:
                raise contradiction(hook, key[1], entry.options, options)
            self._continue_with(entry, options)
        entry.each = options.on_step and options.logger and self.stage != TRAIN and self.keeps_rows
        if entry.given is None:
            entry.given = ()
        return entry

    def _declared(self, hook: str, name: str, suffix: str, options: Options) -> Entry:
        check_name(name)
        if not options.on_step and not options.on_epoch:
            raise ValueError(f"self.log({name!r}): on_step and on_epoch are both False, so nothing would be logged.")
        if hook in LATE_HOOKS:
            self.tell(
                f"self.log({name!r}, ...) in {hook}: the values of its stage are out already, so this one reaches "
                "nobody; log it in a hook that comes before the epoch's end, or give it to self.logger.log_metrics."
            )
        return Entry(self.stage, hook, name, suffix, options, self.monoids[options.reduce_fx])

    def _taken_over(self, key: Key) -> Entry | None:
        """An entry whose checkpoint does not say which hook it belongs to."""
        entry = self.current.pop((None, key[1]), None)
        if entry is not None:
            entry.hook = key[0]
            self.current[key] = entry
        return entry

    def _continue_with(self, entry: Entry, options: Options) -> None:
        """The program was changed since the checkpoint: its options count from now on."""
        if options.reduce_fx != entry.options.reduce_fx and entry.options.on_epoch:
            self.tell(
                f"self.log({entry.name!r}, ..., reduce_fx={options.reduce_fx!r}): the checkpoint holds what came "
                f"together by {entry.options.reduce_fx!r} in its epoch; this epoch's value begins anew."
            )
            entry.running = self.monoids[options.reduce_fx].empty
        entry.treat(options, self.monoids[options.reduce_fx])

    def note_row(self, entry: Entry, number: int, value: Any) -> None:
        """Keep one evaluation step's value for the loggers."""
        self.rows.setdefault(number, {})[entry.step_name] = value

    def take_rows(self) -> dict[int, dict[str, Any]]:
        """The rows that wait for the loggers, which are not kept any longer."""
        if not self.rows:
            return {}
        rows, self.rows = self.rows, {}
        return rows

    def tell(self, message: str) -> None:
        """Warn, once a run."""
        if message not in self._told:
            self._told.add(message)
            warnings.warn(message, UserWarning, stacklevel=5)

    def _batch_size(self) -> int:
        if self.sizes is None or (self.batch is None and not self.in_step):
            return 1  # no batch is under way; within a step None is the batch itself
        size = self.sizes(self.batch)
        if size is None:
            self.tell(no_size(type(self.batch).__name__))
        return 1 if size is None else size

    # epochs

    def start(self, stage: str) -> None:
        """A run begins: what metric objects still hold of runs that were cut short is not its own."""
        for known, objects in self.objects.items():
            if stage == TRAIN or known != TRAIN:
                for metric in objects:
                    metric.reset()

    def reset(self, stage: str) -> None:
        """A new epoch of this stage: running values start empty."""
        self.rows = {}
        for entry in self.entries.get(stage, {}).values():
            entry.reset()

    def turn(self, stage: str) -> None:
        """An epoch is over: what was published starts empty. What was logged since (as `on_train_start` does in a run
        that continues here) is for the next epoch."""
        for entry in self.entries.get(stage, {}).values():
            if not self.is_fresh(entry):
                entry.reset()

    def end_loader(self, world: World = ALONE) -> None:
        """A loader is over; where there are several, metric objects give its value, and are empty for the next. A
        collective call."""
        if not self.suffix:
            return
        if world.size > 1:
            all_ranks.close_objects(self, world)
        own = [e for e in self.current.values() if closes(e, self.suffix)]
        for entry in own:
            entry.close()
        for entry in own:
            entry.resets.reset()

    # reading

    def filled(self, stage: str) -> list[Entry]:
        """The entries that something came into, in the order of their last call."""
        return sorted((e for e in self.entries.get(stage, {}).values() if e.at), key=_when)

    def step_metrics(self, stage: str = TRAIN, where: str = "logger") -> dict[str, Any]:
        """The last step's values of this stage for 'logger' or 'prog_bar'."""
        return {
            entry.step_name: entry.last
            for entry in self.filled(stage)
            if entry.options.on_step and entry.last is not None and getattr(entry.options, where)
        }

    def publish(self, stage: str, world: World = ALONE) -> dict[str, Any]:
        """Compute the epoch values of a stage, make them readable, and return those that go to the loggers.

        Args:
            world: the processes of the run; a collective call.
        """
        for known in self.entries:
            self.logged.update(self.step_metrics(known))
        self.published.update(self._last_values())
        self._folded = self.now
        values = self.epoch_values(stage) if world.size == 1 else all_ranks.epoch_values(self, stage, world)
        self.closing, self.results = None, {entry.epoch_name: value for entry, value in values}
        self.published.update(_by_both_names(values))
        return {entry.epoch_name: value for entry, value in values if entry.options.logger}

    def epoch_values(self, stage: str) -> list[tuple[Entry, Any]]:
        """What came together in this process, in the order of the last calls."""
        entries = [entry for entry in self.filled(stage) if entry.options.on_epoch]
        values = [(entry, entry.epoch_value()) for entry in entries]
        return [(entry, value) for entry, value in values if value is not None]

    def _last_values(self) -> dict[str, Any]:
        """The last step's values that came after the last publishing. An evaluation's plain name is the epoch's."""
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
        ending = {} if self.closing is None else _by_both_names(self.epoch_values(self.closing))
        return {**self.published, **self._last_values(), **ending}

    def progress_bar_metrics(self) -> dict[str, Any]:
        """What `prog_bar=True` asked for: the last step's values and the epochs' published ones."""
        known = {**self.published, **self._last_values()}
        shown = [e for entries in self.entries.values() for e in entries.values() if e.options.prog_bar]
        return {name: known[name] for entry in shown for name in entry.names if name in known}

    @property
    def fit_stages(self) -> list[str]:
        """The stages of a fit that were begun."""
        return [stage for stage in (TRAIN, VALIDATION) if stage in self.entries]

    def is_fresh(self, entry: Entry) -> bool:
        """Did something come into it since the last publishing?"""
        return entry.at > self._folded

    def continue_at(self, calls: int, folded: int) -> None:
        """Count calls on from here."""
        self.now, self._folded = max(self.now, calls), folded


def _when(entry: Entry) -> int:
    return entry.at


def closes(entry: Entry, suffix: str) -> bool:
    """Is it a metric object's, of the loader with this suffix?"""
    return bool(suffix) and entry.suffix == suffix and entry.metric is not None and entry.at > 0


class Unknown:
    """Metric objects of which nothing is known. See `functrain.trainer.adapter.MetricObjects`."""

    def owner(self, metric: Any) -> Any:
        """The object itself."""
        return metric

    def path(self, metric: Any) -> str | None:
        """None: each process has its own."""

    def at(self, path: str) -> Any:
        """Nothing has a place."""
        raise LookupError(path)

    def of_all(self, metric: Any, name: str, world: World) -> AbstractContextManager[None]:
        """Nothing changes."""
        return nullcontext()


def _step_of(stage: str) -> str:
    return "training_step" if stage == TRAIN else f"{stage}_step"


def _by_both_names(values: Iterable[tuple[Entry, Any]]) -> dict[str, Any]:
    """Epoch values under their own and their plain name."""
    return {name: value for entry, value in values for name in (entry.epoch_name, entry.name)}


def no_size(kind: str) -> str:
    """What to say where a batch does not tell how many samples it has."""
    return (
        f"self.log: a batch of type {kind} has no tensor that tells how many samples it holds, so each batch counts "
        "the same in an epoch's mean; pass batch_size= to self.log."
    )


def _two_kinds(entry: Entry) -> ValueError:
    kind = type(entry.metric).__name__ if entry.metric is not None else "number"
    return ValueError(
        f"self.log({entry.name!r}, ...): a {kind} was logged under this name in {entry.hook or 'this run'} before, and "
        "now another value than that object; give them different names."
    )
