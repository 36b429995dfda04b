"""What `self.log` collects: running values by name, published at log boundaries. Touches values only by operators.

Values stay where they are (a tensor on its device) until somebody reads them; collecting forces no synchronisation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from functrain.kernel.metrics import Monoid, Running, monoids

TRAIN, VALIDATION = "train", "validation"


class Options(NamedTuple):
    """How one metric is treated; fixed by the first call that logs it in a stage."""

    on_step: bool
    on_epoch: bool
    prog_bar: bool = False
    logger: bool = True
    reduce_fx: str = "mean"


class Entry:
    """One metric of one stage.

    Attributes:
        name: as it was logged, with the loader's suffix where there are several.
        last: the value of the last step that logged it; None before.
        running: what came together over the epoch.
        metric: an object that accumulates by itself (torchmetrics), in place of `running`.
    """

    __slots__ = ("last", "lift", "merge", "metric", "monoid", "name", "options", "running")

    def __init__(self, name: str, options: Options, monoid: Monoid) -> None:
        self.name = name
        self.options = options
        self.monoid = monoid
        self.lift = monoid.lift
        self.merge = monoid.merge
        self.last: Any = None
        self.running: Running = monoid.empty
        self.metric: Any = None

    @property
    def step_name(self) -> str:
        return f"{self.name}_step" if self.options.on_epoch else self.name

    @property
    def epoch_name(self) -> str:
        return f"{self.name}_epoch" if self.options.on_step else self.name

    def reset(self) -> None:
        self.last, self.running = None, self.monoid.empty
        if self.metric is not None:
            self.metric.reset()

    def epoch_value(self) -> Any:
        """The value over the epoch so far; None where nothing was seen."""
        if self.metric is not None:
            return self.metric.compute()
        if isinstance(self.running.weight, int | float) and not self.running.weight:
            return None
        return self.monoid.compute(self.running)


def _maximum(a: Any, b: Any) -> Any:
    """The larger scalar, NaN where either is; for numbers and for arrays on the host's side of a run."""
    if a != a:
        return a
    return b if b > a or b != b else a


class LogBook:
    """The metrics of a run.

    Attributes:
        entries: what was logged, by stage and name.
        published: the epoch values of all stages, as of their last epoch.
        results: those of the stage that was published last.
        closing: the stage whose epoch is ending: its values are whole already, though hooks may still log.
        logged: what went to the loggers last.

    `stage` and `default` say what is being run and what `on_step` / `on_epoch` mean where a call leaves them out:
    within a training step, on_step; elsewhere, on_epoch.
    """

    def __init__(self, maximum: Callable[[Any, Any], Any] = _maximum) -> None:
        self.monoids = monoids(maximum)
        self.entries: dict[str, dict[str, Entry]] = {}
        self.published: dict[str, Any] = {}
        self.results: dict[str, Any] = {}
        self.closing: str | None = None
        self.logged: dict[str, Any] = {}
        self.sizes: Callable[[Any], int] | None = None
        self.begin(TRAIN, in_step=False)

    def begin(self, stage: str, in_step: bool, suffix: str = "") -> None:
        """From now on calls come from this stage; `suffix` tells several loaders apart."""
        self.stage = stage
        self.current = self.entries.setdefault(stage, {})
        self.in_step = in_step
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
    ) -> None:
        """Collect one value; see `LightningModule.log`."""
        key = name + self.suffix if add_dataloader_idx and self.suffix else name
        entry = self.current.get(key)
        if entry is None:
            entry = self.declare(key, self.options(on_step, on_epoch, prog_bar, logger, reduce_fx))
        detach = getattr(value, "detach", None)
        if detach is not None:
            value = detach()
        elif hasattr(value, "compute"):
            entry.metric, entry.last = value, getattr(value, "_forward_cache", None)
            return
        elif not isinstance(value, int | float) and not hasattr(value, "shape"):
            raise TypeError(f"self.log({name!r}, {repr(value)[:60]}): log a number, a scalar array or a metric object.")
        if getattr(value, "ndim", 0):
            value = _scalar(name, value)
        entry.last = value
        if entry.options.on_epoch:
            weight = batch_size if batch_size is not None else self._batch_size()
            entry.running = entry.merge(entry.running, entry.lift(value, weight))

    def options(
        self, on_step: bool | None, on_epoch: bool | None, prog_bar: bool, logger: bool, reduce_fx: Any
    ) -> Options:
        """Fill in what a call left out, by where it was made."""
        if on_step is None:
            on_step = self.in_step and self.stage == TRAIN
        if on_epoch is None:
            on_epoch = not (self.in_step and self.stage == TRAIN)
        return Options(on_step, on_epoch, prog_bar, logger, _reduction(reduce_fx))

    def declare(self, name: str, options: Options) -> Entry:
        """Make the entry of a metric that is logged for the first time in this stage."""
        if not isinstance(name, str) or not name:
            raise TypeError(f"self.log({name!r}, ...): the name must be a non-empty str.")
        if not options.on_step and not options.on_epoch:
            raise ValueError(f"self.log({name!r}): on_step and on_epoch are both False, so nothing would be logged.")
        entry = Entry(name, options, self.monoids[options.reduce_fx])
        self.current[name] = entry
        return entry

    def _batch_size(self) -> int:
        return self.sizes(self.batch) if self.batch is not None and self.sizes is not None else 1

    def reset(self, stage: str) -> None:
        """A new epoch of this stage: running values start empty."""
        for entry in self.entries.get(stage, {}).values():
            entry.reset()

    def step_metrics(self, stage: str = TRAIN, where: str = "logger") -> dict[str, Any]:
        """The last step's values of this stage for 'logger' or 'prog_bar'."""
        return {
            entry.step_name: entry.last
            for entry in self.entries.get(stage, {}).values()
            if entry.options.on_step and entry.last is not None and getattr(entry.options, where)
        }

    def publish(self, stage: str) -> dict[str, Any]:
        """Compute the epoch values of a stage, make them readable, and give those that go to the loggers."""
        values = self._epoch_values(stage)
        self.closing, self.results = None, {entry.epoch_name: value for entry, value in values}
        self.published.update(_by_both_names(values))
        return {entry.epoch_name: value for entry, value in values if entry.options.logger}

    def _epoch_values(self, stage: str) -> list[tuple[Entry, Any]]:
        entries = [entry for entry in self.entries.get(stage, {}).values() if entry.options.on_epoch]
        values = [(entry, entry.epoch_value()) for entry in entries]
        return [(entry, value) for entry, value in values if value is not None]

    def callback_metrics(self) -> dict[str, Any]:
        """Everything that was logged: epoch values, and the last step's."""
        metrics: dict[str, Any] = {}
        for entries in self.entries.values():
            for entry in entries.values():
                if entry.options.on_step and entry.last is not None:
                    metrics[entry.step_name] = entry.last
                    metrics[entry.name] = entry.last
        ending = {} if self.closing is None else _by_both_names(self._epoch_values(self.closing))
        return {**metrics, **self.published, **ending}

    def progress_bar_metrics(self) -> dict[str, Any]:
        """What `prog_bar=True` asked for: the last step's values and the epochs' published ones."""
        metrics = self.step_metrics(TRAIN, "prog_bar")
        for entries in self.entries.values():
            for entry in entries.values():
                if entry.options.prog_bar and entry.epoch_name in self.published:
                    metrics[entry.epoch_name] = self.published[entry.epoch_name]
        return metrics

    def state(self) -> dict[str, Any]:
        """The running values of a fit by stage, for a checkpoint: plain containers of scalars."""
        return {stage: self._state(stage) for stage in (TRAIN, VALIDATION) if stage in self.entries}

    def _state(self, stage: str) -> dict[str, Any]:
        return {
            name: {"options": list(e.options), "total": e.running.total, "weight": e.running.weight, "last": e.last}
            for name, e in self.entries[stage].items()
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take `state` back."""
        for stage, entries in state.items():
            for name, saved in entries.items():
                options = Options(*saved["options"])
                entry = Entry(name, options, self.monoids[options.reduce_fx])
                entry.running, entry.last = Running(saved["total"], saved["weight"]), saved["last"]
                self.entries.setdefault(stage, {})[name] = entry


def _by_both_names(values: list[tuple[Entry, Any]]) -> dict[str, Any]:
    """Epoch values under their own and their plain name."""
    return {name: value for entry, value in values for name in (entry.epoch_name, entry.name)}


def _reduction(reduce_fx: Any) -> str:
    name = reduce_fx if isinstance(reduce_fx, str) else getattr(reduce_fx, "__name__", repr(reduce_fx))
    name = {"amax": "max", "amin": "min", "avg": "mean"}.get(name, name)
    if name not in ("mean", "sum", "max", "min"):
        raise ValueError(
            f"self.log(reduce_fx={reduce_fx!r}): must be 'mean', 'sum', 'min' or 'max'; log a metric object for "
            "anything else."
        )
    return name


def _scalar(name: str, value: Any) -> Any:
    shape = tuple(value.shape)
    if any(n != 1 for n in shape):
        raise ValueError(f"self.log({name!r}, ...): the value has shape {shape}; log a scalar, such as value.mean().")
    return value.reshape(())
