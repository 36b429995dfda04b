"""What a program is: plain frozen values that say what a small training run does, in no framework's words.

A program is printed as the call that makes it, with what is not the default only.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

FEATURES, STEPS, WIDTH = 3, 5, 2
"""Of a sample: its numbers, its time steps where it is a sequence; and the width of the hidden layer."""

SELDOM = (
    "setup", "on_fit_start", "on_pretrain_routine_start", "on_pretrain_routine_end", "on_train_start",
    "on_epoch_start", "on_train_epoch_start", "on_validation_start", "on_validation_epoch_start",
    "validation_epoch_end", "on_validation_epoch_end", "on_validation_end", "training_epoch_end", "on_train_epoch_end",
    "on_epoch_end", "on_train_end", "on_fit_end", "teardown", "on_test_start", "test_epoch_end", "on_test_epoch_end",
    "on_test_end", "on_save_checkpoint", "on_load_checkpoint",
)  # fmt: skip
"""Hooks that are called a few times an epoch."""

EACH_BATCH = (
    "on_train_batch_start", "on_train_batch_end", "on_batch_start", "on_batch_end", "on_validation_batch_start",
    "on_validation_batch_end", "on_test_batch_start", "on_test_batch_end",
)  # fmt: skip
"""Hooks that are called at every batch of some stage."""

CALLBACK_ONLY = ("on_sanity_check_start", "on_sanity_check_end", "on_keyboard_interrupt", "on_exception")
MODULE_ONLY = ("training_epoch_end", "validation_epoch_end", "test_epoch_end")


class Short:
    """Prints itself as the call that makes it."""

    def __repr__(self) -> str:
        given = [(f.name, getattr(self, f.name)) for f in fields(self)]  # type: ignore[arg-type]
        told = [f"{name}={value!r}" for name, value in given if value != self._default(name)]
        return f"{type(self).__name__}({', '.join(told)})"

    def _default(self, name: str) -> Any:
        return getattr(type(self)(), name)


@dataclass(frozen=True, repr=False)
class Loader(Short):
    """A loader.

    Attributes:
        sizes: the samples of its batches, one after another.
        kind: 'list', 'sized' (an own class with a length) or 'unsized' (one without).
        batch: 'tuple' (x, y), 'dict', or 'odd': a dict whose first value is a number.
        fails_at: draw number (over all epochs, from 0) at which it raises.
        stops_at: draw number at which Ctrl-C is pressed.
    """

    sizes: tuple[int, ...] = (2, 2)
    kind: str = "list"
    batch: str = "tuple"
    fails_at: int | None = None
    stops_at: int | None = None


@dataclass(frozen=True, repr=False)
class Optimizer(Short):
    """An optimizer.

    Attributes:
        kind: 'sgd', 'momentum' or 'adam'.
        decay: its rate is multiplied by this every `every` updates (or epochs, as `interval` says); None never.
        frequency: batches in a row that it plays; None for all.
    """

    kind: str = "sgd"
    rate: float = 0.125
    decay: float | None = None
    interval: str = "step"
    every: int = 1
    frequency: int | None = None


@dataclass(frozen=True, repr=False)
class Log(Short):
    """One call of `self.log`.

    Attributes:
        hook: the method that calls it.
        value: 'loss', 'mean' (of the inputs), 'index' (the batch's number), or 'epoch' (its number; in any hook).
    """

    hook: str = "training_step"
    name: str = "loss"
    value: str = "loss"
    on_step: bool | None = None
    on_epoch: bool | None = None
    reduce_fx: str | None = None
    prog_bar: bool = False
    logger: bool = True
    batch_size: int | None = None

    def options(self) -> dict[str, Any]:
        """What is given beside the name and the value."""
        chosen = {name: getattr(self, name) for name in ("on_step", "on_epoch", "reduce_fx", "batch_size")}
        given = {name: value for name, value in chosen.items() if value is not None}
        return {**given, "prog_bar": self.prog_bar, "logger": self.logger}


@dataclass(frozen=True, repr=False)
class Act(Short):
    """What the watching callback does at the `nth` call (from 0) of one of its hooks.

    Attributes:
        what: 'stop' (should_stop), 'skip' (give -1), 'raise', 'ctrl-c', or 'save' a checkpoint.
    """

    hook: str = "on_train_batch_end"
    nth: int = 0
    what: str = "stop"


@dataclass(frozen=True, repr=False)
class EarlyStop(Short):
    """An EarlyStopping callback."""

    monitor: str = "val"
    patience: int = 0
    mode: str = "min"


@dataclass(frozen=True, repr=False)
class Checkpoint(Short):
    """A ModelCheckpoint callback."""

    monitor: str | None = None
    mode: str = "min"
    save_top_k: int = 1
    save_last: bool = False
    every_n_epochs: int | None = None
    every_n_train_steps: int | None = None


@dataclass(frozen=True, repr=False)
class Program(Short):
    """One small run.

    Attributes:
        model: 'linear', 'mlp' (of two parts, 'first' and 'second') or 'recurrent' (of sequences).
        returns: what the training step gives: 'loss', 'dict', or 'weighted' (a dict with the samples as weight).
        given: who gives the loaders: 'fit' or 'module'. A module's loaders give other data at every call.
        module_hooks, callback_hooks: the hooks that the module, and a callback, override to record what they see.
        looks: they record the metrics and the weights too.
        flags: of the Trainer.
        then: what is called after the fit: 'validate', 'test', 'predict'.
    """

    model: str = "linear"
    returns: str = "loss"
    optimizers: tuple[Optimizer, ...] = (Optimizer(),)
    train: Loader = Loader()
    val: tuple[Loader, ...] = ()
    given: str = "fit"
    logs: tuple[Log, ...] = ()
    module_hooks: tuple[str, ...] = ()
    callback_hooks: tuple[str, ...] = ()
    looks: bool = False
    acts: tuple[Act, ...] = ()
    early_stop: EarlyStop | None = None
    checkpoint: Checkpoint | None = None
    flags: dict[str, Any] = field(default_factory=lambda: {"max_epochs": 1})
    then: tuple[str, ...] = ()
    seed: int = 0

    @property
    def several(self) -> bool:
        """Are there several optimizers?"""
        return len(self.optimizers) > 1

    @property
    def per_batch(self) -> bool:
        """Does a hook bring the host in at every training batch?"""
        hooks = {*self.module_hooks, *self.callback_hooks}
        return bool(hooks & {"on_train_batch_start", "on_train_batch_end", "on_batch_start", "on_batch_end"})

    @property
    def precise(self) -> bool:
        """Does it compute in double precision?"""
        return self.flags.get("precision") == 64


def weights_of(program: Program) -> dict[str, dict[str, np.ndarray]]:
    """The first weights, by part and name."""
    draw = np.random.default_rng([program.seed, 99])

    def part(inputs: int, outputs: int) -> dict[str, np.ndarray]:
        return {"w": _grid(draw, (inputs, outputs)), "b": _grid(draw, (outputs,))}

    if program.model == "mlp":
        return {"first": part(FEATURES, WIDTH), "second": part(WIDTH, 1)}
    return {"first": part(FEATURES, 1)}


def batch_of(program: Program, loader: Loader, number: int, call: int, index: int) -> Any:
    """Batch `index` of a loader as numpy arrays.

    Args:
        number: which of the program's loaders: 0 the training one, 1 and on those of validation.
        call: how often the module had been asked for the loader before.
    """
    draw = np.random.default_rng([program.seed, number, call, index])
    n = loader.sizes[index]
    shape = (n, STEPS) if program.model == "recurrent" else (n,)
    x, y = _grid(draw, (*shape, FEATURES)), _grid(draw, shape)
    if loader.batch == "tuple":
        return x, y
    batch = {"x": x, "y": y}
    return {"scale": np.float32(1.0), **batch} if loader.batch == "odd" else batch


def _grid(draw: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers on a grid of quarters, so that all worlds begin with the same bits."""
    return (draw.integers(-6, 7, shape) / 4).astype(np.float32)
