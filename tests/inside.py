"""What tests read of internals, in one place: a restructuring changes this file and the unit tests of the very modules.

What a user can see is better asked of the user's side: `trainer.global_step`, `callback_metrics`, hooks, checkpoints.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from importlib import import_module
from typing import Any

CHECKPOINTS = {"torch": "functrain_torch.ckpt", "jax": "functrain_jax.checkpoint"}


def engine_types() -> list[type[Any]]:
    """The engines of all adapters."""
    names = {"functrain_torch": "Torch", "functrain_jax": "Jax", "tests.numpy_adapter": "Numpy"}
    return [getattr(import_module(f"{package}.engine"), f"{name}Engine") for package, name in names.items()]


# the position


def clock(trainer: Any) -> Any:
    """The position: epoch, batch, update, skipped."""
    return trainer.run.clock


def position(trainer: Any) -> tuple[int, int, int]:
    """Epoch, batch of the epoch, updates."""
    return tuple(clock(trainer)[:3])


# spans


def span(trainer: Any, name: str, call: Any) -> Any:
    """What the last run would call in place of `call`, to have it measured."""
    return trainer.run.span(name, call)


def span_of_each(trainer: Any, name: str, items: Any) -> Any:
    """What the last run would iterate over in place of `items`, to have each of them measured."""
    return trainer.run.span_of_each(name, items)


# the state


def put_in(trainer: Any, module: Any) -> None:
    """Have the last run be of this module, so that its hooks are called."""
    trainer.run.module = module


def engine(trainer: Any) -> Any:
    """What runs the module; to ask whether it is still held."""
    return trainer.run.engine


class Parts:
    """The parts that run a module, as the loops ask them: what is no method here is the engine's, or else the run's."""

    def __init__(self, run: Any) -> None:
        self.run = run

    def train(self, batches: Any, n: int) -> Any:
        """A dispatch."""
        with self.run.metrics.scope("train", step=True):
            return self.run.engine.train(batches, n)

    def evaluate(self, stage: str, *given: Any) -> Any:
        """A dispatch of an evaluation."""
        with self.run.metrics.scope(stage, step=True):
            return self.run.engine.evaluate(stage, *given)

    @property
    def clock(self) -> Any:
        """The position."""
        return self.run.clock

    @clock.setter
    def clock(self, clock: Any) -> None:
        self.run.clock = clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self.run.engine if hasattr(self.run.engine, name) else self.run, name)


def parts(trainer: Any) -> Parts:
    """Those of the last run."""
    return Parts(trainer.run)


def train_state(trainer: Any) -> Any:
    """The kernel's state: params, players, vars, its own clock."""
    return trainer.run.engine.state


def updates(trainer: Any) -> list[int]:
    """How often each optimizer has stepped."""
    return [int(player.updates) for player in train_state(trainer).players]


def loss_scales(trainer: Any) -> list[float]:
    """The loss scale of each optimizer."""
    return [float(player.scale.value) for player in train_state(trainer).players]


def optimizers(trainer: Any) -> list[Any]:
    """Torch's own optimizers of the last fit."""
    return trainer.run.engine.configured.optimizers


def rates(trainer: Any) -> list[float]:
    """The learning rate of each of torch's optimizers, of its first group."""
    return [optimizer.param_groups[0]["lr"] for optimizer in optimizers(trainer)]


def told_rates(trainer: Any) -> dict[str, float]:
    """The learning rates as a monitor is told them, by name."""
    return trainer.run.inspector.rates()


def summary(trainer: Any, depth: int) -> list[tuple[str, str, int, int, int]]:
    """The rows of a module's summary."""
    return trainer.run.inspector.summary(depth)


def jax_weights(trainer: Any) -> Mapping[str, Any]:
    """The weights of a JAX module by name, as its checkpoints name them."""
    return import_module("functrain_jax.snapshot").weights(train_state(trainer))


def interrupt(trainer: Any) -> None:
    """As a Ctrl-C in the middle of a batch does."""
    trainer.run.stop.interrupt(signal.SIGINT)


def end_time(trainer: Any) -> None:
    """The time that `max_time` gives is over."""
    trainer.run.stop.deadline = 0.0


def look_up_at_events_only(monkeypatch: Any) -> None:
    """Have the loop come back to the host at events alone, and not because time has passed."""
    monkeypatch.setattr("functrain.trainer.run.Run.look_up_seconds", None)


def event_table() -> Mapping[str, Any]:
    """What happens between dispatches, by kind, in order."""
    return import_module("functrain.trainer.fit").EVENTS


def tick_seconds(trainer: Any) -> float | None:
    """How often a callback wants to be looked at."""
    return import_module("functrain.trainer.run").tick_seconds(trainer.callbacks)


def per_batch(trainer: Any) -> bool:
    """Does somebody's hook need every batch?"""
    return trainer.run.hooks.per_batch


# checkpoints


def read(path: Any, world: str | None = None) -> dict[str, Any]:
    """A checkpoint's content, read as safely as a run that continues from it reads it."""
    return _files(path, world).read(path)


def write(path: Any, content: Mapping[str, Any], like: Any = None) -> None:
    """Write a checkpoint of this content: one of the kind that stands there, or of the kind of another, `like`."""
    _files(path if like is None else like).write(path, content)


def mark(path: Any) -> Any:
    """Who wrote a checkpoint, as the file says it; None where it says nothing."""
    return _files(path).mark(path)


def _files(path: Any, world: str | None = None) -> Any:
    """What reads and writes the checkpoints of a world; unless told: JAX's are folders."""
    is_folder = isinstance(path, str | os.PathLike) and os.path.isdir(path)
    return import_module(CHECKPOINTS[world or ("jax" if is_folder else "torch")])


def save_through(stand_in: Any) -> None:
    """Have torch's checkpoints written through this in place of `torch`, for the rest of the process."""
    import_module(CHECKPOINTS["torch"]).torch = stand_in  # type: ignore[attr-defined]


def snapshot(trainer: Any) -> dict[str, Any]:
    """What a checkpoint holds of the module, its optimizers and running metrics."""
    return trainer.run.engine.state_dict(weights_only=False)


def callback_states(trainer: Any) -> dict[str, Any]:
    """What a checkpoint holds of the callbacks."""
    return import_module("functrain.trainer.checkpoint").callback_states(trainer.run, {})


def loader_generators(trainer: Any) -> tuple[Any, list[Any]]:
    """The random states of the training loader, and of each validation loader."""
    rng = trainer.run.loader_tools.loader_rng
    return rng(trainer.run.source.loader), [rng(loader) for loader in trainer.run.val_loaders]


# what is logged


def metrics() -> Any:
    """What collects the values of a run, without one."""
    return import_module("functrain.trainer.metrics").Metrics()


def kind_of_scope() -> Any:
    """The class of what calls of `self.log` belong to."""
    return import_module("functrain.trainer.scopes").Scope


def scope(trainer: Any) -> Any:
    """What calls of `self.log` belong to now."""
    return trainer.run.metrics.current


# compiled programs


def step_hooks() -> tuple[str, ...]:
    """The hooks that a compiled step has no place for."""
    return import_module("functrain_jax.context").STEP_HOOKS


def smuggle_a_transfer(monkeypatch: Any) -> None:
    """Have the arguments of JAX's training programs hold an array that is still on the host."""
    import numpy as np

    kind = import_module("functrain_jax.placement").OneDevice
    put = kind.numbers

    def metrics(self: Any, found: Any, running: Any) -> dict[str, Any]:
        return {"last": found.logged.last, "running": running, "host": np.zeros(3, np.float32)}

    monkeypatch.setattr("functrain_jax.programs.Training.metrics", metrics)
    monkeypatch.setattr(kind, "numbers", lambda self, x: x if np.shape(x) == (3,) else put(self, x))


# Trainers with a defect, of which a test must see that it is found


def writing_late(kind: Any) -> Any:
    """A Trainer that leaves out the rows of before the second update."""

    class WritingLate(kind):
        def _attach(self, *given: Any) -> Any:
            run = super()._attach(*given)
            for logger in run.loggers:
                write = logger.log_metrics
                logger.log_metrics = lambda *row, write=write, **named: run.clock.update > 1 and write(*row, **named)
            return run

    return WritingLate


def validating_less(kind: Any) -> Any:
    """A Trainer that leaves one batch out of each validation of a fit."""

    class ValidatingLess(kind):
        def _attach(self, *given: Any) -> Any:
            run = super()._attach(*given)
            change, engine = run.engine.mode, run.engine

            def mode(stage: str, evaluating: bool) -> None:
                if run.val is not None and evaluating:
                    run.val[1][:] = [max((n or 2) - 1, 0) for n in run.val[1]]
                change(stage, evaluating)

            engine.mode = mode
            return run

    return ValidatingLess
