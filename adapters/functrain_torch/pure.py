"""The training step of a module as a function: the very step that a Trainer with the same flags runs."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from functrain.kernel.state import Report, TrainState
from functrain.seed import isolate_rng, rng_state, seed_generators
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.functional import (
    EpochReport,
    Step,
    StepReport,
    check_batches,
    check_donate,
    check_module,
    check_saved,
    check_state,
    flags_of_step,
    no_batch,
    step_of,
)
from functrain.trainer.generators import set_known_rng_state
from functrain.trainer.loader_forms import length_of
from functrain.trainer.replay import batch_of
from functrain_torch import ckpt
from functrain_torch.copies import TorchSettings
from functrain_torch.module import LightningModule
from functrain_torch.stepper import Held, Stepper


def functional(module: LightningModule, *, donate: bool = True, **flags: Any) -> Step:
    """Return the training step of a module as a function of a state and a batch: no Trainer is needed.

    What a state holds is its own copy of the module, with its optimizers, schedulers, random state and the metrics of
    its epoch. The module that was given is never written, and nothing global moves: random generators, the grad mode,
    autocast. Hooks of the module are called as a Trainer calls them.

    Args:
        donate: a step moves the state that it is given, which is dead then; False copies it first: the old state stays
            valid, and the same call twice returns the same bits.
        flags: those of the Trainer that concern a step: accumulate_grad_batches, gradient_clip_val, precision,
            truncated_bptt_steps and their like; max_epochs and max_steps for a `configure_optimizers` that asks the
            Trainer for them: they end nothing.

    Returns:
        The five functions of a `Step`. `init(seed=None)` copies the module's present weights, with the seed as of
        `seed_everything`, None taking the present random state. `step(state, batch, last=False)` takes one batch, and
        with `last` ends the epoch: a shorter window closes, schedulers of epochs step, the position turns.
        `epoch(state, batches)` takes any iterable of batches, a loader too. `evaluate(state, batches,
        stage="validation")` returns what `Trainer.validate` or `test` returns for this loader. `load(checkpoint)` is
        `load_state`.

    Raises:
        ConfigurationError: a flag is unknown, contradicts another, or concerns no step; what else a Trainer refuses.

    Example:
        >>> step = functional(module, gradient_clip_val=1.0)
        >>> state = step.init(seed=0)
        >>> state, report = step.step(state, batch)
        >>> report.loss, report.logged["accuracy"]
    """
    flags_of_step(flags)
    check_donate(donate)
    check_module(module, "functrain_torch")
    pure = _Pure(module, flags, donate)
    return Step(pure.init, pure.step, pure.epoch, pure.evaluate, pure.load)


def load_state(
    checkpoint: str | os.PathLike[str] | Mapping[str, Any], module: LightningModule | Step, **flags: Any
) -> TrainState:
    """Return the state of a checkpoint of a Trainer, from which the step goes on as the run would have.

    Args:
        checkpoint: its path, or what stands in it.
        module: a module of the same class, or what `functional(module, ...)` returned.
        flags: those of the run, where a module is given.

    Raises:
        CheckpointError: it cannot be read, or is of another module.
    """
    return step_of(module, flags, functional).load(checkpoint)


def failing_batch(path: str | os.PathLike[str]) -> Any:
    """Return the batch at which a run with `terminate_on_nan` has ended, from the checkpoint that its error names.

    It is made of lists, tuples and dicts: a named tuple comes back as a tuple, a dataclass and any other object as a
    dict of its fields.

    Raises:
        CheckpointError: it cannot be read, or holds no batch.
    """
    return batch_of(ckpt.read(path), os.fspath(path))


class _Pure:
    """The functions of one module and its flags. Holds no state."""

    def __init__(self, module: LightningModule, flags: Mapping[str, Any], donate: bool) -> None:
        self.module = module
        self.flags = dict(flags)
        self.donate = donate

    def init(self, seed: int | None = None) -> TrainState:
        """Return the first state."""
        with _at(None):
            if seed is not None:
                seed_generators(seed)
            return self._state(Stepper.begin(self.module, self.flags))

    def load(self, checkpoint: str | os.PathLike[str] | Mapping[str, Any]) -> TrainState:
        """Return the state of a checkpoint."""
        check_saved(checkpoint)
        with _at(None):
            stepper = Stepper.begin(self.module, self.flags, checkpoint)
            return self._state(stepper)

    def step(self, state: TrainState, batch: Any, last: bool = False) -> tuple[TrainState, StepReport]:
        """One batch."""
        with _at(state):
            stepper = self._taken(state)
            report = stepper.step(batch, last)
            return self._state(stepper), report

    def epoch(self, state: TrainState, batches: Iterable[Any]) -> tuple[TrainState, EpochReport]:
        """All batches of an epoch."""
        with _at(state):
            loader = check_batches(batches, "epoch")
            stepper, reports = self._taken(state), []
            count = length_of(loader)
            begun = stepper.run.clock.batch
            for number, batch in enumerate(loader, begun + 1):
                reports.append(stepper.step(batch, last=count is not None and number == begun + count))
                if stepper.ended:
                    break
            if not stepper.ended:
                if not reports and not stepper.loop.in_epoch:
                    raise no_batch(batches, "epoch")
                reports.extend(stepper.end())
            return self._state(stepper), EpochReport(reports, dict(stepper.run.metrics.results))

    def evaluate(self, state: TrainState, batches: Any, stage: str = "validation") -> dict[str, Any]:
        """Return the metrics of a stage."""
        with _at(state):
            return self._own(state).evaluate(check_batches(batches, "evaluate"), stage)

    # states

    def _state(self, stepper: Stepper) -> TrainState:
        held = stepper.engine.state
        assert held is not None
        return held._replace(clock=stepper.run.clock, rng=rng_state(), metrics=Held(stepper))

    def _taken(self, state: TrainState) -> Stepper:
        """What runs the next step from this state."""
        held, stepper = _stepper(state), self._own(state)
        if self.donate:
            held.moves += 1
        elif stepper is held:
            stepper = held.copied()
            stepper.move_to(state)
        if stepper is not held:
            stepper.moves += 1
        return stepper

    def _own(self, state: TrainState) -> Stepper:
        """What runs the steps of this module and these flags from a state, which is read as its checkpoint is where it
        is of others."""
        stepper = _stepper(state)
        module, flags = stepper.origin
        if module is self.module and flags == self.flags:
            return stepper
        return Stepper.begin(self.module, self.flags, state.metrics.checkpoint(state))


@contextmanager
def _at(state: TrainState | None) -> Generator[None]:
    """Within it generators are as the state has them; afterwards nothing global has moved."""
    if state is not None:
        _stepper(state)
    with TorchSettings(), isolate_rng(), _no_autocast():
        if state is not None:
            set_known_rng_state(state.rng)
        yield


@contextmanager
def _no_autocast() -> Generator[None]:
    kinds = [kind for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind)]
    for kind in kinds:
        torch.set_autocast_enabled(kind, False)
    try:
        yield
    finally:
        for kind in kinds:
            torch.set_autocast_enabled(kind, True)


def _stepper(state: Any) -> Stepper:
    check_state(state)
    if not isinstance(state.metrics, Held):
        raise ConfigurationError(
            "a state of make_step, or of JAX, is none of functional(module) in functrain_torch: make one by init()."
        )
    return state.metrics.stepper(state)


__all__ = ["Report", "functional", "load_state"]
