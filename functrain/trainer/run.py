"""One fit or one evaluation: what loops, engines and checkpoints get instead of the Trainer. Holds what belongs to it,
and answers about it; decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from functrain.kernel.plan import Plan
from functrain.kernel.state import Clock
from functrain.trainer.adapter import Adapter, CheckpointIO, Engine, Facts, Inspector, OtherCheckpoints, Sweep, Traits
from functrain.trainer.callback import Callback, Checkpoint, Progress
from functrain.trainer.context import Context
from functrain.trainer.data import TrainSource
from functrain.trainer.digests import Digester
from functrain.trainer.entries import TRAIN
from functrain.trainer.flags import Flags
from functrain.trainer.foreign import ActionProfiler, RunLogger
from functrain.trainer.hooks import Hooks
from functrain.trainer.identity import Identity
from functrain.trainer.loaders import LoaderFinder, Loaders
from functrain.trainer.metrics import Metrics
from functrain.trainer.narrow import class_of
from functrain.trainer.overriding import overrides
from functrain.trainer.reader import LoaderTools
from functrain.trainer.saving import Writes
from functrain.trainer.spans import Call, T, measured, measured_items
from functrain.trainer.stop import Stop
from functrain.trainer.world import Alone, World

Watch: TypeAlias = Callable[[int, int, Any], None]

LOOK_UP_SECONDS = 0.5


class Loop(Protocol):
    """What others see of the loop of a fit."""

    one_by_one: bool

    @property
    def in_step(self) -> bool:
        """Is it in the middle of a dispatch?"""
        ...

    def nothing_left(self) -> bool:
        """Return whether the run will be over once the events that a checkpoint left undone are done."""
        ...

    def mid_epoch(self) -> bool:
        """Return whether there are batches of this epoch still to come, as far as is known."""
        ...

    def begin_within(self) -> None:
        """Stand within the epoch where the state of the run's beginning stands."""
        ...

    def set_aside(self) -> AbstractContextManager[None]:
        """Within it another run may draw from the training loader."""
        ...

    def state(self) -> dict[str, Any]:
        """Return the loop's part of a checkpoint."""
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """Take `state` back."""
        ...


@dataclass(slots=True, eq=False)
class Run:
    """One run.

    Attributes:
        stage: 'fit', 'validate', 'test' or 'predict'.
        outer: the run under way within which this one is; None where it is within none.
        around: another Trainer that is running the module, and the context of its run; None and None without one.
        world: the processes of the run.
        writing_loggers: the loggers that this process writes to: all of them in the first one, none elsewhere.
        profiler: measures the spans of the run; None for nothing.
        owner: the Trainer. It is handed to hooks and callbacks; nothing here reads it.
        clock: THE position. The loop writes it after a dispatch, the engine within one.
        before: the position when the last dispatch began.
        turned: the position of the last epoch's end, before the clock turned; None in the first epoch.
        phase: 'set-up', 'run' or 'end'.
        saved: the last checkpoint that this run can be continued from: its path and position.
        writes: the checkpoint that is being written.
        given: the training and the validation loaders that the user gave.
        ckpt_path: the checkpoint that it continues from, or whose weights it evaluates; None for none.
        outcome: how it has ended: 'success', 'interrupted' or 'failed'; None while it runs.
        val: the loaders that the run evaluates and their limits: of a fit those of its validations, None where it does
            not validate.
        traits, facts: what the engine of a fit said of itself when it was configured and started.
        asks_again: the training loader is asked for again when the next epoch starts.
        redone: what a validation under way began with, for checkpoints taken in it; None outside.
        resumed_rng: the random state of the checkpoint that the run continues from, until it is set.
        watches: called with every batch of training as it is drawn: with its epoch, how many batches of the epoch that
            makes, and the batch. A compiled run draws ahead of what it has trained on.
        keeps_predictions: what the steps of a prediction give is returned.
        batch_indices: the numbers of the samples of a prediction's batch in their data set, where a callback wants
            them; None where the loader does not tell.
        evaluated, evaluation_batches: of the evaluation under way: the batches done, and how many there are (None:
            unknown).
        evaluated_before, loader_batches: of its present loader: the batches done before it, and how many it has.
    """

    stage: str
    flags: Flags
    owner: Any
    module: Any
    datamodule: Any
    callbacks: list[Callback]
    loggers: list[RunLogger]
    metrics: Metrics
    hooks: Hooks
    identity: Identity
    stop: Stop
    profiler: ActionProfiler | None = None
    outer: Run | None = None
    around: tuple[Any, Context | None] = (None, None)
    world: World = field(default_factory=Alone)
    clock: Clock = field(default_factory=Clock)
    plan: Plan = field(default_factory=lambda: Plan(None))
    before: Clock = field(default_factory=Clock)
    turned: Clock | None = None
    phase: str = "set-up"
    sanity_checking: bool = False
    saved: tuple[str, Clock] | None = None
    writes: Writes = field(default_factory=Writes)
    given: tuple[Any, Any] = (None, None)
    ckpt_path: str | None = None
    outcome: str | None = None
    val: Loaders | None = None
    asks_again: bool = False
    redone: dict[str, Any] | None = None
    resumed_rng: dict[str, Any] | None = None
    keeps_predictions: bool = True
    batch_indices: Sequence[int] | None = None
    evaluated: int = 0
    evaluation_batches: int | None = None
    evaluated_before: int = 0
    loader_batches: int | None = None
    loop: Loop | None = None
    watches: list[Watch] = field(default_factory=list[Watch])
    writing_loggers: list[RunLogger] = field(init=False)
    source: TrainSource = field(init=False)
    engine: Engine = field(init=False)
    checkpoints: CheckpointIO = field(init=False)
    loader_tools: LoaderTools = field(init=False)
    inspector: Inspector = field(init=False)
    aside: Callable[[], AbstractContextManager[None]] | None = field(init=False)
    digester: Digester | None = field(init=False)
    sweep: Sweep | None = field(init=False)
    compiled: bool = field(init=False)
    others: OtherCheckpoints | None = field(init=False)
    traits: Traits = field(init=False)
    facts: Facts = field(init=False)
    loaders: LoaderFinder = field(init=False)

    def __post_init__(self) -> None:
        self.writing_loggers = self.loggers if self.world.rank == 0 else []

    def use(self, adapter: Adapter) -> None:
        """Work with the parts of this adapter."""
        self.engine, self.checkpoints, self.loader_tools, self.inspector = adapter[:4]
        self.aside, self.digester, self.compiled = adapter.aside, adapter.digester, adapter.compiled
        self.sweep = adapter.sweep
        self.others = adapter.others

    # the position

    def stands_at(self, then: Clock) -> bool:
        """Return whether this is where the run stands. The end of an epoch and the start of the next are one place: to
        turn the clock trains nothing."""
        return then == self.clock or (self.turned == then and then.next_epoch() == self.clock)

    @property
    def context(self) -> Context:
        """What modules see of it."""
        return Context(lambda: self.clock, self.metrics.log)

    @property
    def training(self) -> bool:
        """Is it a fit between `on_train_start` and `on_train_end`?"""
        return self.stage == "fit" and self.phase == "run"

    @property
    def evaluates(self) -> bool:
        """Is a validation, a test or a prediction under way, be it within a fit?"""
        return self.metrics.current.stage != TRAIN

    @property
    def is_last_batch(self) -> bool:
        """Is the training batch under way, or else the last one that was trained on, the last of its epoch?"""
        if self.loop is None:
            return False
        count = self.clock.batch + self.loop.in_step
        return not self.loop.mid_epoch() if self.plan.batches is None else count >= self.plan.batches

    @property
    def found_source(self) -> TrainSource | None:
        """The training loader; None before it was asked for."""
        return getattr(self, "source", None)

    @property
    def val_loaders(self) -> Sequence[Any]:
        """The validation loaders of a fit."""
        return () if self.val is None else self.val[0]

    # values

    def callback_metrics(self) -> dict[str, Any]:
        """Everything logged so far, by name, as the framework's scalars."""
        scalar = self.inspector.scalar
        return {name: scalar(value) for name, value in self.metrics.callback_metrics().items()}

    def logged_metrics(self) -> dict[str, Any]:
        """Return what was sent to the loggers last, and the last step's values that will be."""
        scalar, metrics = self.inspector.scalar, self.metrics
        return {name: scalar(value) for name, value in {**metrics.logged, **metrics.step_metrics()}.items()}

    # spans

    def span(self, name: str, call: Call) -> Call:
        """Return what is to be called in place of `call`, so that a profiler measures it: `call` itself without one.

        For the start of a run: the step then calls what this returned, and asks nothing.
        """
        return measured(self.profiler, name, call)

    def span_of_each(self, name: str, items: Iterator[T]) -> Iterator[T]:
        """Return an iterator over the same items, so that a profiler measures how each of them comes: `items` itself
        without one."""
        return measured_items(self.profiler, name, items)

    # callbacks

    @property
    def logs_may_lag(self) -> bool:
        """May every logger and callback that gets step metrics, or observes the state, get them later? Where one's own
        method does not say so, it may look at the run or stop it."""
        methods = ("log_step", "observe")
        asked = [(each, method) for each in self.callbacks for method in methods if overrides(each, method)]
        asked += [(logger, "log_metrics") for logger in self.loggers]
        return all(_says(owner, "may_lag", method) for owner, method in asked)

    @property
    def look_up_seconds(self) -> float:
        """How often the loop comes back to the host at the least: for callbacks, for Ctrl-C, and for a limited time."""
        wish = tick_seconds(self.callbacks) or LOOK_UP_SECONDS
        return wish if self.stop.deadline is None else min(wish, 0.1)

    def tick(self) -> None:
        """The host has control: what follows a checkpoint that was written is done, and callbacks that show progress
        may act."""
        self.writes.look()
        for callback in self.callbacks:
            if callback.tick_seconds is not None:
                callback.tick(self.owner, self.module)

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print from one process, above a progress bar."""
        if self.world.rank == 0:
            print_above(self.callbacks, *args, **kwargs)


def tick_seconds(callbacks: Sequence[Callback]) -> float | None:
    """Return how often one of these callbacks wants to be looked at; None where none does."""
    wishes = [callback.tick_seconds for callback in callbacks if callback.tick_seconds is not None]
    return min(wishes, default=None)


def print_above(callbacks: Sequence[Callback], *args: Any, **kwargs: Any) -> None:
    """Print above the progress bar among these callbacks, where there is one."""
    bar = next((callback for callback in callbacks if isinstance(callback, Progress)), None)
    (bar.print if bar is not None else print)(*args, **kwargs)


def in_order(callbacks: list[Callback]) -> list[Callback]:
    """Callbacks in the order given, those that save checkpoints last."""
    return sorted(callbacks, key=lambda callback: isinstance(callback, Checkpoint))


def _says(owner: Any, name: str, method: str) -> bool:
    """Return whether this attribute is true by the word of the class that defines the method, or of one below it."""
    spaces: list[Mapping[str, Any]] = [vars(owner)]
    spaces += [vars(base) for base in class_of(owner).__mro__]
    for known in spaces:
        if name in known or method in known:
            return bool(known.get(name, False))
    return False
