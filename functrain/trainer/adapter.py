"""What a run asks of a framework's adapter, in parts: the engine that holds the state and moves it, files, loaders, and
what can be looked at. Types only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from functrain.kernel.state import TrainState
from functrain.trainer.data import LoaderTools
from functrain.trainer.identity import Mark
from functrain.trainer.world import World


class Named(Protocol):
    """What has a name."""

    @property
    def name(self) -> str:
        """Its name."""
        ...


class Engine(Protocol):
    """One run of one module under one framework, made at the start of every fit, validate, test and predict. It owns
    the `TrainState` and is the only one to move it.

    The Trainer hands it batches, `n` at a time, as many as there are to the next host event; the engine decides how:
    a loop (torch) or one compiled call (JAX).
    """

    state: TrainState | None

    @property
    def policy(self) -> Named:
        """The precision."""
        ...

    pieces: int | None
    """Steps of time a piece, where batches are cut along time."""

    compiled: bool
    """Its calls may keep the main thread away from Python for long."""

    outputs: list[Any]
    """What the training steps of the last dispatch gave, one a batch, detached, in the form of `step_outputs`; only
    filled where `wants_outputs`."""

    facts: dict[str, dict[str, str]]
    """How optimizers and module are set up, as text by name, made by `configure` and `start`: under 'now' that of which
    a run that continues uses the present value, under 'kept' that of which it takes the checkpoint's."""

    per_batch: bool
    """The adapter itself needs the host at every batch (optimization by hand, batches in pieces).

    Dispatches of one batch.
    """

    def setup(self, stage: str) -> None:
        """Device, precision; move the module. Before `configure_optimizers`."""
        ...

    def configure(self) -> None:
        """Call `configure_optimizers` and make the initial state. Raises with a clear message where it is unusable."""
        ...

    def players(self) -> tuple[Any, ...]:
        """`PlayerPlan`s, one an optimizer, in order."""
        ...

    def start(self, wants_outputs: bool) -> None:
        """The plan is known; nothing has been trained yet. Resolve once what would cost at every step."""
        ...

    def train(self, batches: Iterator[Any], n: int) -> int:
        """Train on up to n batches of the iterator; gives how many there were. Advances `run.clock`, collects logs."""
        ...

    passes_logs: bool
    """It keeps what was logged at the places where step metrics are written, so a dispatch may run past them."""

    def replay(self, look: Callable[[], None]) -> None:
        """Call `look` for every part of the last dispatch that ended where step metrics are written, in order: clock,
        metrics and learning rates are as they were there, and as they are now when this returns or raises. Once a
        dispatch, and only where `passes_logs`."""
        ...

    def close_window(self) -> bool:
        """An epoch has ended where nobody could foresee it: update with what open windows hold, and do all that follows
        an update. False where none was open."""
        ...

    def idle(self) -> str | None:
        """Why no update has changed anything yet, in a sentence; None where one has, or where none need to."""
        ...

    def publish(self) -> None:
        """Leave the present values in the user's module, where hooks will look for them."""
        ...

    def epoch_start(self) -> None:
        """Training mode; running metrics of the epoch start empty (unless resumed)."""
        ...

    def epoch_end(self, metrics: dict[str, Any]) -> None:
        """The epoch is whole: step the schedulers whose interval it is; `metrics` are the callback metrics."""
        ...

    def eval_mode(self, stage: str) -> None: ...

    def train_mode(self, stage: str) -> None: ...

    def evaluate(self, stage: str, batch: Any, batch_idx: int, loader_idx: int) -> Any:
        """One step of 'validation', 'test' or 'predict' on one batch; gives the step's output (detached)."""
        ...

    def evaluate_many(self, stage: str, batches: Iterator[Any], n: int, first: int, loader_idx: int) -> int:
        """As `evaluate` for up to n batches whose outputs nobody wants; gives how many there were."""
        ...

    def finish(self) -> None:
        """The run is over: leave the trained values in the user's module."""
        ...

    # what is saved, and read back

    def snapshot(self, weights_only: bool) -> dict[str, Any]:
        """The engine's part of a checkpoint.

        Weights, and unless weights_only optimizer, scheduler, scale, open windows, RNG.
        """
        ...

    def restore(self, checkpoint: dict[str, Any], weights_only: bool, strict: bool = True) -> None:
        """Take a snapshot back. Raises where it does not fit the module, naming what differs.

        Before changing anything.
        """
        ...


class Saving(Protocol):
    """A checkpoint that is being written."""

    def done(self) -> bool:
        """Is it over, well or not?"""
        ...

    def wait(self) -> None:
        """Until it is on the disk under its name, whatever comes then. Raises what the write raised; what was there
        before is untouched then."""
        ...


class CheckpointIO(Protocol):
    """How checkpoints are written and read; who wrote one is read without the rest of it."""

    suffix: str
    """What a checkpoint's name ends with: '.ckpt'."""

    def save(self, path: str, value: dict[str, Any], /) -> Saving:
        """Begin to write a checkpoint, which is there whole or not at all. `value` is copied before this returns, and
        the run goes on: what writes touches the file alone. Raises at once where `value` cannot be stored."""
        ...

    def load(self, path: str, /) -> dict[str, Any]:
        """Read a checkpoint, once what is being written is there; nothing in the file may run code. Raises
        `CheckpointError` naming the file."""
        ...

    def pack(self, value: Any, /) -> bytes:
        """A part of a checkpoint for another process of the run: the same bytes for the same value. Raises where it
        cannot be stored."""
        ...

    def unpack(self, data: bytes, /) -> Any:
        """What `pack` was given, with its arrays in the host's memory."""
        ...

    def mark(self, path: str, /) -> Mark | None:
        """Who wrote a checkpoint, read in no time and never through a link; None where the file does not say."""
        ...


class MetricObjects(Protocol):
    """What is known of objects that accumulate by themselves, as those of torchmetrics do."""

    def owner(self, metric: Any, /) -> Any:
        """What empties a metric object: the object itself, or the collection that it is a part of."""
        ...

    def path(self, metric: Any, /) -> str | None:
        """Its place in the module, the same in all processes; None where it has none, or nobody knows how such objects
        come together: then its value is this process's own."""
        ...

    def at(self, path: str, /) -> Any:
        """The metric object at a place."""
        ...

    def of_all(self, metric: Any, name: str, world: World, /) -> AbstractContextManager[None]:
        """Within it `metric.compute()` returns the value over what all processes have seen. Every process enters it
        with the object of the same place, and computes once."""
        ...


class Inspector(Protocol):
    """What can be asked of a module, its optimizers and its batches without changing them."""

    def rates(self) -> dict[str, float]:
        """The current learning rate of every optimizer and parameter group, by the name a monitor logs it under."""
        ...

    def momenta(self) -> dict[str, float] | None:
        """The momentum of every optimizer and parameter group, by that name; None where it cannot be known."""
        ...

    def batch_size(self, batch: Any, /) -> int | None:
        """How many samples a batch has: the weight of its metrics in an epoch's mean; None where it does not tell."""
        ...

    def scalar(self, value: Any) -> Any:
        """A logged value as the framework's users expect to read it (a tensor, an array)."""
        ...

    @property
    def metric_objects(self) -> MetricObjects:
        """What is known of metric objects that the module logs."""
        ...

    def summary(self, max_depth: int) -> list[tuple[str, str, int, int, int]]:
        """The module's parts down to a depth (-1: all): name, type, parameters, trainable ones, bytes of parameters."""
        ...


class Adapter(NamedTuple):
    """The parts through which a run works with one framework. Found by `functrain.trainer.adapters.find`."""

    engine: Engine
    checkpoints: CheckpointIO
    loaders: LoaderTools
    inspector: Inspector
