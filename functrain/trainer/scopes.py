"""Where `self.log` is called: in which step or hook of which stage, and what that makes of a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from functrain.trainer.entries import TRAIN, Declared, Entry, Key, Options, check_name, reduction


class Record(NamedTuple):
    """A call of `self.log` that was recorded: how the metric is treated, the value, and how much it weighs in an
    epoch's mean (None: nobody asks for it)."""

    declared: Declared
    value: Any
    weight: Any

    @property
    def key(self) -> Key:
        """The hook, and the name with the loader's suffix."""
        return self.declared.key

    def arguments(self) -> tuple[Any, ...]:
        """Return those of a call of `Metrics.log` that says the same."""
        name, o = self.key[1], self.declared.options
        return (
            name, self.value, o.prog_bar, o.logger, o.on_step, o.on_epoch, o.reduce_fx, self.weight, False, o.sync_dist,
        )  # fmt: skip


class Scoped(Protocol):
    """What scopes are entered in: the metrics of a run. See `functrain.trainer.metrics.Metrics`."""

    current: Scope
    entries: dict[str, dict[Key, Entry]]


class Scope:
    """What calls of `self.log` belong to: a dispatch of steps, the hooks of a stage, a single hook.

    Entered by `with`, one after the other or one in the other; on leaving, however that comes about, calls belong to
    the scope around it again. What it is stands when it is made: only the batch is written.

    Attributes:
        stage: 'train', 'validation', 'test' or 'predict'.
        step: it is around steps, with what is called at every batch; not between them.
        suffix: what names get where there are several loaders.
        ends: the stage's epoch is ending: its values are whole already, though hooks may still log.
        hook: the step or the hook that logs.
        entries: what was logged in the stage.
        records: what was logged in the scope, in order, where calls are recorded; else None.
        value_of: makes of a name and a value what is recorded.
        place: returns the place of the batch in its loader, where values of single steps are kept.
        batch: the batch that steps and hooks work on; None between batches.
    """

    __slots__ = (
        "batch", "ends", "entries", "hook", "metrics", "outer", "place", "records", "stage", "step", "suffix",
        "value_of",
    )  # fmt: skip

    def __init__(
        self, metrics: Scoped, stage: str, step: bool = False, suffix: str = "", ends: bool = False,
        place: Callable[[], int] = int,
    ) -> None:  # fmt: skip
        self.metrics = metrics
        self.stage, self.step, self.suffix, self.ends = stage, step, suffix, ends
        self.hook = STEPS[stage] if step else ""
        self.entries = metrics.entries.setdefault(stage, {})
        self.records: list[Record] | None = None
        self.value_of: Callable[[str, Any], Any] | None = None
        self.place = place
        self.batch: Any = None

    def __enter__(self) -> Scope:
        self.outer, self.metrics.current = self.metrics.current, self
        return self

    def __exit__(self, *_: object) -> None:
        self.metrics.current = self.outer

    def declared(
        self,
        name: str,
        suffix: str,
        prog_bar: bool,
        logger: bool,
        on_step: bool | None,
        on_epoch: bool | None,
        reduce_fx: Any,
        sync_dist: bool,
    ) -> Declared:
        """Return what a call says of its metric. `on_step` and `on_epoch` that it leaves out are filled in: in a
        training step the first, elsewhere the second.

        Raises:
            TypeError: the name is none.
            ValueError: neither is asked for, or the reduction is unknown.
        """
        check_name(name)
        trains = self.step and self.stage == TRAIN
        on_step = trains if on_step is None else on_step
        on_epoch = not trains if on_epoch is None else on_epoch
        if not on_step and not on_epoch:
            raise ValueError(f"self.log({name!r}): on_step and on_epoch are both False, so nothing would be logged.")
        options = Options(on_step, on_epoch, prog_bar, logger, reduction(reduce_fx), bool(sync_dist))
        return Declared(self.hook, name, suffix, options)


class HookScope(Scope):
    """As the scope around it, for the time of one hook."""

    __slots__ = ()

    def __init__(self, outer: Scope, hook: str) -> None:
        self.metrics, self.entries, self.hook = outer.metrics, outer.entries, hook
        self.stage, self.step, self.suffix, self.ends = outer.stage, outer.step, outer.suffix, outer.ends
        self.records, self.value_of, self.place = outer.records, outer.value_of, outer.place
        self.batch = outer.batch


STEPS = {stage: f"{stage}_step" for stage in ("validation", "test", "predict")} | {TRAIN: "training_step"}
