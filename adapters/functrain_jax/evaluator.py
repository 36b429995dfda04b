"""Evaluation: compiled programs over many batches of validation, test and prediction. Moves no state."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from functrain.kernel.state import Clock, TrainState
from functrain.trainer.adapter import Dispatch
from functrain.trainer.errors import describe, noted
from functrain.trainer.hooks import Hooks
from functrain.trainer.metrics import Metrics
from functrain.trainer.spans import unmeasured
from functrain_jax.binding import Bindings, Mode
from functrain_jax.binding.composite import evaluating, restore
from functrain_jax.device import looking
from functrain_jax.feed import Chunk, Feed
from functrain_jax.module_programs import ModulePrograms
from functrain_jax.placement import Placement
from functrain_jax.program_cache import Programs
from functrain_jax.programs import Evaluation


class Evaluator:
    """Evaluates what a state holds, for one run.

    Args:
        clock: returns the position.
        programs: the compiled programs of the module.
        prepare: applied to every batch and the number of its loader; None leaves them.
        span: wraps what a profiler measures.
    """

    def __init__(
        self,
        metrics: Metrics,
        clock: Callable[[], Clock],
        programs: ModulePrograms,
        placement: Placement,
        prepare: Callable[..., Any] | None,
        x64: bool,
        span: Callable[[str, Any], Any] = unmeasured,
    ) -> None:
        self.metrics = metrics
        self.clock = clock
        self.span = span
        self.programs = programs
        self.placement = placement
        self.prepare = prepare
        self.x64 = x64
        self.by_stage: dict[str, Programs[Evaluation]] = {}
        self.launches: dict[str, Callable[..., Any]] = {}
        self.transfer = span("batch_transfer", Chunk.on_device)
        self.feeds: dict[tuple[str, int, bool], Feed] = {}
        self.warned: set[str] = set()
        """Leaves of a batch of which it was said that they are rounded."""

    def evaluate(
        self, state: TrainState, stage: str, batches: Iterator[Any], n: int, first: int, loader: int, wants: bool
    ) -> Dispatch:
        """Run the step on up to n batches: one by one where outputs are wanted, else as many as fit a buffer in one
        compiled call; one where JAX looks for NaN. Outputs are numpy arrays for 'predict', else arrays of the
        device."""
        outputs: list[Any] = []
        count, n = 0, 1 if looking() else n
        for chunk in self._feed(stage, loader, wants, 1 if wants else n).chunks(batches, n):
            output = self._dispatch(state, stage, chunk, first + count, loader, wants)
            count += chunk.count
            if wants:
                outputs.append(self.placement.host(output) if stage == "predict" else output)
        return Dispatch(self.clock(), count, count < n, outputs)

    def _feed(self, stage: str, loader: int, single: bool, longest: int) -> Feed:
        feed = self.feeds.get((stage, loader, single))
        if feed is None:
            prepare = None if self.prepare is None else partial(self.prepare, loader=loader)
            # A short loader gets a short buffer.
            feed = self.feeds[stage, loader, single] = Feed(prepare, self.x64, longest, settles=not single)
        return feed

    def _dispatch(self, state: TrainState, stage: str, chunk: Chunk, first: int, loader: int, outputs: bool) -> Any:
        metrics, clock = self.metrics, self.clock()
        if stage not in self.by_stage:
            self.by_stage[stage] = self.programs.evaluation(stage)
            self.launches[stage] = self.span(f"{stage}_step", operator.call)
        programs, spec = self.by_stage[stage], (loader, metrics.current.suffix, chunk.spec, outputs)
        entry = programs.find(spec, self.programs.constants)
        if entry is None:
            evaluation = programs.maker
            with noted(
                lambda: f"while {stage}_step was traced for batch {first} of loader {loader}{describe(chunk.first())}"
            ):
                found, shapes, worked = evaluation.discover(state, chunk.example(), loader)
            self.programs.policy.warn_of_rounded(chunk.filled(), worked, evaluation.name, self.warned)
            program = evaluation.program(found, shapes, loader, outputs)
            entry = programs.add(spec, program, found, evaluation.tracer.reads, self.programs.constants)
        logged = entry.found
        logged.declare(metrics)
        control = np.array([chunk.count, clock.epoch, clock.update, first], np.int32)
        with jax.transfer_guard_host_to_device("allow"):
            running = jax.tree.map(self.placement.numbers, logged.running(metrics, self.programs.policy.store))
            moved = self.placement.numbers(control), self.transfer(chunk, self.placement.batch)
        values, output = self.launches[stage](entry.program, state.params, state.vars, state.rng, running, *moved)
        metrics.put(stage, values["last"], values["running"], logged.metrics)
        logged.put_rows(metrics, values["rows"], first, chunk.count)
        return output


class Modes:
    """Which parts of a module train, and which evaluate."""

    def __init__(self, binding: Bindings, hooks: Hooks) -> None:
        self.binding = binding
        self.hooks = hooks
        self.before: Sequence[Mode] = ()
        """Of before the evaluation under way; empty where a run continues at the end of one."""
        self.resumed: set[str] | None = None
        """The paths of the parts that evaluate by the checkpoint that the run continues from."""

    def evaluate(self, stage: str) -> None:
        """Put the module's networks into evaluation mode."""
        self.before = self.binding.modes()
        self.hooks.call_or(f"on_{stage}_model_eval", partial(self.binding.set_mode, False))

    def train(self, stage: str) -> None:
        """Put the module's networks back into the modes of before."""
        self.hooks.call_or(f"on_{stage}_model_train", partial(restore, self.before))
        self.before = ()

    def resume(self) -> None:
        """Take the modes of the checkpoint that the run continues from."""
        if self.resumed is not None:
            self.binding.set_evaluating(self.resumed)

    def leave(self) -> None:
        """Leave an evaluation that an error has ended."""
        restore(self.before)

    def evaluating(self) -> list[str]:
        """Return the paths of the parts that evaluate while the module trains; during an evaluation, of those that will
        after it."""
        return evaluating(self.before or self.binding.modes())
