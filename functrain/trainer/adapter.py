"""What a run asks of a framework's adapter, in parts: the engine that holds the state and moves it, files, loaders, and
what can be looked at. Types only."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from functrain.kernel.plan import PlayerPlan
from functrain.kernel.state import Clock, TrainState
from functrain.trainer.digests import Digester
from functrain.trainer.identity import Mark
from functrain.trainer.reader import LoaderTools
from functrain.trainer.saving import Saving
from functrain.trainer.world import World

NO_FACTS: Mapping[str, str] = MappingProxyType({})


class Traits(NamedTuple):
    """What an engine says of itself once its optimizers are known; the plan of a fit is made of it.

    Attributes:
        players: when each player moves, one an optimizer, in order.
        per_batch: the engine needs the host at every batch (optimization by hand, batches in pieces), so a dispatch is
            one batch.
        passes_logs: it keeps what was logged at the places where step metrics are written, and digests of the state at
            those where it is observed, so a dispatch may run past them; see `Dispatch.passed`.
        keep: given a batch that was drawn, it returns a copy of it, and what puts the engine's state back to where it
            is now; the loop calls it for every batch. None where a run need not return to before a step.
    """

    players: tuple[PlayerPlan, ...]
    per_batch: bool = False
    passes_logs: bool = False
    keep: Callable[[Any], tuple[Any, Callable[[], None]]] | None = None


class Facts(NamedTuple):
    """How module and optimizers are set up, as text by name: a checkpoint keeps it, and a run that continues says what
    is otherwise now.

    Attributes:
        now: that of which a run that continues uses the present value.
        timing: as `now`; checkpoints of before it was kept say nothing of it.
        kept: that of which it takes the checkpoint's value.
    """

    now: Mapping[str, str] = NO_FACTS
    timing: Mapping[str, str] = NO_FACTS
    kept: Mapping[str, str] = NO_FACTS


class Dispatch(NamedTuple):
    """What became of the batches that an engine was handed.

    Attributes:
        clock: the position after them.
        batches: how many there were.
        ended: the iterator has ended. False where they were as many as were asked for, or a stop came before.
        outputs: what the steps returned, one a batch, detached, unread; empty unless wanted. Of training steps in the
            form of `step_outputs`.
        passed: the positions where step metrics are written or the state is observed, in order, up to the last batch.
            At each of them metrics, learning rates and digests are as they were there; they are as they are now again
            when the iterator is exhausted or closed. To be read once, before the next dispatch; None where a dispatch
            ends at such places.
        failed: the error that ended it. An engine hands it over here, in place of raising it, where there may be
            something in `passed`, which is written first; the loop raises it.
    """

    clock: Clock
    batches: int
    ended: bool
    outputs: Sequence[Any] = ()
    passed: Generator[Clock] | None = None
    failed: BaseException | None = None


class Engine(Protocol):
    """One run of one module under one framework, made at the start of every fit, validate, test and predict. It owns
    the state and is the only one to move it. What it has to tell it returns: nothing else of it is read.

    The loops hand it batches, `n` at a time, as many as there are to the next host event; the engine decides how: a
    loop (torch) or one compiled call (JAX). Within a dispatch it writes the position, `run.clock`, so that hooks,
    modules and exceptions see where the run is.

    In order, a fit calls `setup`, `configure`, `load_state_dict` where it continues, `start`; then `train`, and between
    dispatches whatever is due; last `finish`. An evaluation calls `setup`, `evaluate` between two `mode`, `finish`.
    """

    def setup(self, stage: str) -> None:
        """Choose device and precision and move the module: before `configure_optimizers`.

        Args:
            stage: 'fit', 'validate', 'test' or 'predict'.
        """
        ...

    def configure(self) -> Traits:
        """Call `configure_optimizers` and make the initial state. Raises with a clear message where it is unusable."""
        ...

    def start(self, wants_outputs: bool, one_by_one: bool) -> Facts:
        """Resolve once what would cost at every step: the plan is known, and nothing has been trained yet.

        Args:
            wants_outputs: somebody takes what the training steps give.
            one_by_one: somebody looks at every batch, so that all dispatches are of one.
        """
        ...

    def train(self, batches: Iterator[Any], n: int) -> Dispatch:
        """Train on up to n batches of the iterator, fewer where it ends or `run.stop.raised`. Logs are collected. The
        position goes on from `run.clock`, which may have moved since the last dispatch: an epoch turns."""
        ...

    def close_window(self) -> bool:
        """An epoch has ended where nobody could foresee it: update with what open windows hold, and do all that follows
        an update. Returns whether one was open."""
        ...

    def publish(self) -> None:
        """Leave the present values in the user's module: batches are over, and hooks will look for them."""
        ...

    def close_epoch(self, metrics: Mapping[str, Any]) -> None:
        """Step the schedulers that count epochs: the epoch is whole.

        Args:
            metrics: the callback metrics, for schedulers that watch one.
        """
        ...

    def mode(self, stage: str, evaluating: bool) -> None:
        """Put the module into evaluation mode with the present values, or back into the modes of before. Two calls and
        no block, as a run may continue in the middle of an evaluation's end.

        Args:
            stage: 'validation', 'test' or 'predict'; the module may have a hook of its own for each.
        """
        ...

    def evaluate(self, stage: str, batches: Iterator[Any], n: int, first: int, loader: int, wants: bool) -> Dispatch:
        """Run the step of 'validation', 'test' or 'predict' on up to n batches of the iterator. Moves no state.

        Args:
            first: the number of the first of them in its loader.
            loader: the number of the loader.
            wants: the steps' outputs are wanted.
        """
        ...

    def state_dict(self, weights_only: bool) -> dict[str, Any]:
        """Return the engine's part of a checkpoint: weights, and unless weights_only optimizers, schedulers, loss
        scales, open windows, random keys, running metrics."""
        ...

    def load_state_dict(self, saved: Mapping[str, Any] | TrainState, weights_only: bool) -> None:
        """Take a checkpoint's part back, or a state that was made without a run, and stays valid. Raises where it does
        not fit the module, naming what differs, before anything is changed."""
        ...

    def finish(self) -> None:
        """Leave the trained values in the user's module: the run is over, however it has ended."""
        ...


class CheckpointIO(Protocol):
    """How checkpoints are written and read; who wrote one is read without the rest of it."""

    suffix: str
    """What a checkpoint's name ends with: '.ckpt'."""

    def save(self, path: str, value: dict[str, Any], /) -> Saving:
        """Begin to write a checkpoint, which is there whole or not at all. `value` is copied before this returns, and
        the run goes on: what writes touches the file alone. Raises at once where `value` cannot be stored."""
        ...

    def load(self, path: str, like: Callable[[], Mapping[str, Any]] | None = None, /) -> dict[str, Any]:
        """Read a checkpoint, once what is being written is there; nothing in the file may run code.

        Args:
            like: returns what the engine would save now. An array that is read may be put where the array at its place
                in there is. None: arrays may be anywhere.

        Raises:
            CheckpointError: it cannot be read; names the file.
        """
        ...

    def pack(self, value: Any, /) -> bytes:
        """Return a part of a checkpoint for another process of the run: the same bytes for the same value. Raises where
        it cannot be stored."""
        ...

    def unpack(self, data: bytes, /) -> Any:
        """Return what `pack` was given, with its arrays in the host's memory."""
        ...

    def mark(self, path: str, /) -> Mark | None:
        """Return who wrote a checkpoint, read in no time and never through a link; None where the file does not say."""
        ...


class OtherCheckpoints(Protocol):
    """The checkpoints of another library: a run continues from theirs, and theirs from ours."""

    def adopt(self, saved: dict[str, Any], /) -> dict[str, Any]:
        """Return a checkpoint of theirs as one of ours, for the fit that continues from it; any other as it is. Says
        what cannot be taken over."""
        ...

    def named(self, checkpoint: Mapping[str, Any], /) -> dict[str, Any]:
        """Return what is to stand in a checkpoint of ours for them alone; in its 'callbacks' too."""
        ...


class MetricObjects(Protocol):
    """What is known of objects that accumulate by themselves, as those of torchmetrics do."""

    def owner(self, metric: Any, /) -> Any:
        """Return what empties a metric object: the object itself, or the collection that it is a part of."""
        ...

    def path(self, metric: Any, /) -> str | None:
        """Return its place in the module, the same in all processes; None where it has none, or nobody knows how such
        objects come together: then its value is this process's own."""
        ...

    def at(self, path: str, /) -> Any:
        """Return the metric object at a place."""
        ...

    def kept(self, logged: Sequence[Any], /) -> Callable[[], None]:
        """Copy what metric objects have accumulated: those that were logged, and others of the module that are known.
        Returns what puts it back."""
        ...

    def of_all(self, metric: Any, name: str, world: World, /) -> AbstractContextManager[None]:
        """Within it `metric.compute()` returns the value over what all processes have seen. Every process enters it
        with the object of the same place, and computes once."""
        ...


class Inspector(Protocol):
    """What can be asked of a module, its optimizers and its batches without changing them."""

    def rates(self) -> dict[str, float]:
        """Return the current learning rate of every optimizer and parameter group, by the name a monitor logs it
        under."""
        ...

    def optimizers(self) -> list[Any]:
        """Return the optimizers that the module has configured, in order; none before that."""
        ...

    def schedulers(self) -> list[Any]:
        """Return the schedulers beside them and when each steps: `scheduler`, `interval`, `frequency`, `monitor`,
        `strict`, `name`."""
        ...

    def momenta(self) -> dict[str, float] | None:
        """Return the momentum of every optimizer and parameter group, by that name; None where it cannot be known."""
        ...

    def batch_size(self, batch: Any, /) -> int | None:
        """Return how many samples a batch has: the weight of its metrics in an epoch's mean; None where it does not
        tell."""
        ...

    def scalar(self, value: Any) -> Any:
        """Return a logged value as the framework's users expect to read it (a tensor, an array)."""
        ...

    @property
    def metric_objects(self) -> MetricObjects:
        """What is known of metric objects that the module logs."""
        ...

    def idle(self) -> str | None:
        """Return why no update of this fit has changed anything yet, in a sentence; None where one has, or where none
        need to. Reads values of the device: once a run."""
        ...

    def device(self) -> dict[str, Any]:
        """Return what computes, for the manifest: 'device' in words, and whatever else of it changes numbers, by
        name."""
        ...

    def device_stats(self) -> dict[str, float]:
        """Return what the device tells of its memory, by name; empty for one that tells nothing, as a CPU."""
        ...

    def summary(self, max_depth: int) -> list[tuple[str, str, int, int, int]]:
        """Return the module's parts down to a depth (-1: all): name, type, parameters, trainable ones, bytes of
        parameters."""
        ...


class Sweep(Protocol):
    """What changes the learning rate of a module within short fits."""

    def __call__(
        self, rates: Sequence[float], attribute: str | None, /
    ) -> AbstractContextManager[Callable[[int, float], None]]:
        """Within it a fit of the module uses the given rate at each update, and no schedule. Returns what is called
        with an update's number and its rate before its first batch.

        Args:
            rates: those of the updates, in order.
            attribute: what the module calls its learning rate; None where that is not known.

        Raises:
            ConfigurationError: on the way, where the optimizers' rate cannot be set so.
        """
        ...


class Adapter(NamedTuple):
    """The parts through which a run works with one framework. Found by `functrain.trainer.adapters.find`.

    Attributes:
        aside: within what it returns other runs may run the module, which is as it was afterwards: its state, and who
            runs it. None where the adapter cannot do that.
        digester: makes digests of states and batches; None where the adapter has none.
        others: knows the checkpoints of another library. None where there is none.
        compiled: its calls may keep the main thread away from Python for long, so that a thread answers signals.
        sweep: has short fits use given learning rates. None where the adapter cannot do that.
    """

    engine: Engine
    checkpoints: CheckpointIO
    loaders: LoaderTools
    inspector: Inspector
    aside: Callable[[], AbstractContextManager[None]] | None = None
    digester: Digester | None = None
    compiled: bool = False
    sweep: Sweep | None = None
    others: OtherCheckpoints | None = None
