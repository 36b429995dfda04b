"""The evaluating half of the JAX engine: compiled programs over many batches of validation, test and prediction. Moves
no state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from functrain.kernel.state import Clock, TrainState
from functrain.trainer.errors import describe, noted
from functrain.trainer.hooks import overrides
from functrain.trainer.run import Run
from functrain_jax.binding import Bindings, Mode
from functrain_jax.binding.composite import evaluating, restore
from functrain_jax.device import debugging
from functrain_jax.feed import Chunk, Feed
from functrain_jax.frozen import Same, code_of, frozen
from functrain_jax.kept import Constants, Kept, Programs
from functrain_jax.placement import Placement
from functrain_jax.precision import Policy
from functrain_jax.programs import Evaluation, Tracer

AFTER_TRANSFER = "on_after_batch_transfer"


class Evaluating:
    """What an engine needs to evaluate; the engine itself sets the attributes."""

    run: Run
    clock: Clock
    policy: Policy
    binding: Bindings
    placement: Placement
    module: Any
    state: TrainState | None
    prepare: Callable[..., Any] | None
    wide: bool
    evaluations: dict[str, Programs]
    kept: Kept
    constants: Constants
    eval_feeds: dict[Any, Feed]
    _modes: Sequence[Mode] = ()
    """Of before the evaluation; empty where a run continues at the end of one."""

    def publish(self) -> None:
        """Leave the present values in the user's module."""
        raise NotImplementedError

    def eval_mode(self, stage: str) -> None:
        """The module's networks in evaluation mode, with the present values."""
        self.publish()
        self._modes = self.binding.modes()
        hook = getattr(self.run.hooks, f"on_{stage}_model_eval")
        self.binding.set_mode(False) if hook is None else hook()

    def train_mode(self, stage: str) -> None:
        """The module's networks back in the modes of before."""
        hook = getattr(self.run.hooks, f"on_{stage}_model_train")
        restore(self._modes) if hook is None else hook()
        self._modes = []

    def evaluating_parts(self) -> list[str]:
        """The parts of the module that evaluate while it trains; during an evaluation, those that will after it."""
        return evaluating(self._modes or self.binding.modes())

    def evaluate(self, stage: str, batch: Any, batch_idx: int, loader_idx: int) -> Any:
        """One step on one batch; the output as numpy arrays for 'predict', else as arrays of the device."""
        chunk = next(self._eval_feed(stage, loader_idx, True, 1).chunks(iter((batch,)), 1))
        output = self._evaluate(stage, chunk, batch_idx, loader_idx, True)
        return self.placement.host(output) if stage == "predict" else output

    def evaluate_many(self, stage: str, batches: Iterator[Any], n: int, first: int, loader_idx: int) -> int:
        """As many as fit a buffer in one compiled call."""
        count = 0
        for chunk in self._eval_feed(stage, loader_idx, False, n).chunks(batches, n):
            self._evaluate(stage, chunk, first + count, loader_idx, False)
            count += chunk.count
        return count

    def _eval_feed(self, stage: str, loader: int, single: bool, longest: int) -> Feed:
        feed = self.eval_feeds.get((stage, loader, single))
        if feed is None:
            prepare = None if self.prepare is None else partial(self.prepare, loader=loader)
            # A short loader gets a short buffer.
            feed = self.eval_feeds[stage, loader, single] = Feed(prepare, self.wide, longest, settles=not single)
        return feed

    def same(self, stage: str) -> tuple[Any, ...]:
        """What must be the same for the programs of a stage to be those of an earlier run."""
        module = self.module
        names = (f"{stage}_step", f"{stage}_step_end", "tbptt_split_batch", "forward")
        steps = [getattr(module, name, None) for name in names]
        owners = [o for o in (module, self.run.datamodule) if o is not None and overrides(o, AFTER_TRANSFER)]
        steps += [getattr(owner, AFTER_TRANSFER) for owner in owners]
        kinds = [type(part) for part in (*self.binding.networks(), *vars(module).values())]
        code = code_of(steps, type(module), dict.fromkeys(kinds))
        moved = tuple(Same(owner) if owner is module else frozen(owner) for owner in owners)
        return stage, Same(self.placement.device), self.policy.name, debugging(), self.binding.structure(), code, moved

    def _programs(self, stage: str) -> Programs:
        if stage not in self.evaluations:
            self.evaluations[stage] = self.kept.programs(
                self.same(stage), lambda: Evaluation(Tracer(self.binding, self.policy), stage)
            )
        return self.evaluations[stage]

    def _evaluate(self, stage: str, chunk: Chunk, first: int, loader: int, outputs: bool) -> Any:
        assert self.state is not None
        book, state = self.run.metrics, self.state
        programs, form = self._programs(stage), (loader, book.suffix, chunk.form, outputs)
        kept = programs.find(form, self.constants)
        if kept is None:
            evaluation = programs.maker
            with noted(
                lambda: f"while {stage}_step was traced for batch {first} of loader {loader}{describe(chunk.first())}"
            ):
                found, shapes = evaluation.discover(state, chunk.example(), loader)
            program = evaluation.program(found, shapes, loader, outputs)
            kept = programs.add(form, program, found, evaluation.tracer.reads, self.constants)
        program, logged = kept.program, kept.found
        logged.declare(book)
        control = np.array([chunk.count, self.run.clock.epoch, self.run.clock.update, first], np.int32)
        with jax.transfer_guard_host_to_device("allow"):
            running = jax.tree.map(self.placement.numbers, logged.running(book, self.policy.store))
            moved = self.placement.numbers(control), chunk.on_device(self.placement.batch)
        metrics, output = program(state.params, state.vars, state.rng, running, *moved)
        logged.put(book, metrics, set(logged.metrics))
        logged.put_rows(book, metrics["rows"], first, chunk.count)
        return output
