"""What runs the steps of one state: a Trainer's own loop, over a module of its own, one batch when it is asked to."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from functrain.kernel.state import Report, TrainState
from functrain.seed import isolate_rng
from functrain.trainer import checkpoint as checkpoints
from functrain.trainer import metrics_state, rows, running
from functrain.trainer.data import TrainSource
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.fit import FitLoop
from functrain.trainer.functional import EVALUATED, StepReport, check_stage, moved_state
from functrain.trainer.generators import set_known_rng_state
from functrain.trainer.loop_state import ends_epoch
from functrain.trainer.planning import plan_of
from functrain.trainer.replay import with_random_of_step
from functrain.trainer.run import Run
from functrain.trainer.stack import QUIET
from functrain_torch import metric_states
from functrain_torch.assembly import Trainer
from functrain_torch.copies import copied
from functrain_torch.engine import TorchEngine
from functrain_torch.module import LightningModule
from functrain_torch.optimizers import Configured


class Stepper:
    """Runs the steps of one state.

    Attributes:
        origin: whose steps they are: the module that was given, and the flags.
        moves: how often it has moved; a state that it stood at before is gone.
        ended: the last step was the last of its epoch.
    """

    engine: TorchEngine

    def __init__(self, module: LightningModule, flags: Mapping[str, Any]) -> None:
        self.flags = flags
        self.module = module
        self.origin = module, flags
        self.trainer = Trainer(**{**QUIET, **flags})
        self.run: Run = self.trainer._attach("fit", module, None)
        engine = self.run.engine
        assert isinstance(engine, TorchEngine)
        self.engine = engine
        self.moves = 0
        self.ended = False
        self.reported: list[tuple[Sequence[Report | None], dict[str, float]]] = []

    # making

    @classmethod
    def begin(cls, module: LightningModule, flags: Mapping[str, Any], checkpoint: Any = None) -> Stepper:
        """Return one at the start of a fit of a copy of the module, or at a checkpoint."""
        new = cls(copied(module, None)[0], flags)
        new.origin = module, flags
        run = new.run
        running.find_loaders(run)
        running.set_up(run)
        run.traits = run.engine.configure()
        saved = None
        if checkpoint is not None:
            saved = with_random_of_step(checkpoints.load(run, checkpoint, weights_only=False))
        run.hooks.call("on_pretrain_routine_start")
        run.hooks.call("on_pretrain_routine_end")
        loop = new._start()
        if saved is not None:
            # Where the loaders stood is the caller's matter, who hands over the batches that come next.
            left = {"source": {"cursor": None, "loader_rng": None}, "val_loaders": []}
            checkpoints.restore(run, loop, {**saved, "loop": {**saved["loop"], **left}}, "the checkpoint")
            loop.ended = loop.ended or ends_epoch(saved["loop"])
        run.phase = "run"
        run.hooks.call("on_train_start")
        running.restore_rng(run)
        assert loop.position is not None
        loop.run_events(*loop.position)
        return new

    def _start(self) -> FitLoop:
        run = self.run
        run.source = TrainSource([None], 1.0, run.loader_tools)
        # The limits are for who configures optimizers by them; a function is called as often as one likes.
        run.plan = plan_of(run)._replace(batches=None, max_epochs=None, max_steps=None, min_epochs=0, min_steps=0)
        self.engine.on_reports = self._take_reports
        loop = self.loop = FitLoop(run)
        run.loop = loop
        loop.one_by_one = True
        loop.kept = None  # a function writes no files
        run.facts = self.engine.start(loop.wants_outputs, True)
        self.engine.manual.stop_counting()
        return loop

    def copied(self) -> Stepper:
        """Return an exact copy: of the module, optimizers, schedulers, open windows and the epoch's metrics."""
        old = self.engine
        if not old.automatic:
            old.manual.settle()
        module, configured = copied(self.module, old.configured)
        new = Stepper(module, self.flags)
        new.origin = self.origin
        new._take(self, configured)
        return new

    def _take(self, other: Stepper, configured: Configured | None) -> None:
        """Be where the other is, with these copies."""
        old, run, engine = other.engine, self.run, self.engine
        running.find_loaders(run)
        engine.prepared = configured
        engine.setup("fit")
        run.traits = engine.configure()
        saved = metrics_state.state_dict(other.run.metrics)
        metrics_state.load_state(run.metrics, saved)
        metrics_state.load_shown(run.metrics, metrics_state.shown(other.run.metrics))
        links = metrics_state.links(other.run.metrics, metric_states.places(other.module))
        metrics_state.load_links(run.metrics, links, metric_states.found(self.module))
        run.metrics.results = dict(other.run.metrics.results)
        loop = self._start()
        run.phase, run.clock, run.before, run.turned = "run", other.run.clock, other.run.before, other.run.turned
        loop.in_epoch, loop.ended, loop.skipped = other.loop.in_epoch, other.loop.ended, other.loop.skipped
        loop.outputs, loop.warned_short, loop.position = list(other.loop.outputs), True, other.loop.position
        old_again, again = old.parts.reevaluation, engine.parts.reevaluation
        if old_again is not None and again is not None:
            again.windows = {player: list(window) for player, window in old_again.windows.items()}
        if not old.automatic:
            engine.manual.continue_from(old.manual)

    def check_own(self, state: TrainState) -> None:
        """Raises ConfigurationError where another object stands in the place of one that the steps move: it would be
        ignored."""
        mine = self.engine.state
        assert mine is not None
        kept = {"params": (state.params, mine.params), "hidden": (state.hidden, mine.hidden)}
        for i, (given, own) in enumerate(zip(state.players, mine.players, strict=True)):
            kept[f"players[{i}].opt"] = given.opt, own.opt
            kept[f"players[{i}].acc.grads"] = given.acc.grads, own.acc.grads
        for name, (given, own) in kept.items():
            if given is not own:
                raise ConfigurationError(
                    f"state.{name} is another object than this state's own, which would be used all the same: module, "
                    "optimizers and windows of a torch state belong together. Write into its tensors in place (under "
                    "torch.no_grad()), or make the state of another module by functional(module).init()."
                )

    def move_to(self, state: TrainState) -> None:
        """Stand where this state says: its position and loss scales are what a caller may have changed."""
        mine, self.run.clock = self.engine.state, state.clock
        assert mine is not None
        players = tuple(
            given._replace(opt=own.opt, acc=given.acc._replace(grads=own.acc.grads))
            for given, own in zip(state.players, mine.players, strict=True)
        )
        self.engine.state = mine._replace(players=players, clock=state.clock, vars=state.vars)

    # stepping

    def step(self, batch: Any, last: bool) -> StepReport:
        """One batch. With `last` the epoch ends with it."""
        run, loop, metrics = self.run, self.loop, self.run.metrics
        self.ended, self.reported = False, []
        if not self.engine.automatic:
            self.engine.manual.start_counting()
        try:
            if not loop.in_epoch:
                loop.run_events("start", 0)
            before = run.clock
            run.plan = run.plan._replace(batches=before.batch + 1 if last else None)
            loop.batches = iter((batch,))
            calls, rates = metrics.calls, run.inspector.rates()
            loop.dispatch()
            report = self._report(calls, rates, before.update)
            loop.run_events("batch", 0)
            if last or loop.ended:
                self._end_epoch()
        finally:
            self.engine.manual.stop_counting()
            self.engine.family.look_at(run.context)
        return report

    def end(self) -> list[StepReport]:
        """The epoch has ended with the batch before. Returns the report of the update that closed an open window."""
        run, loop = self.run, self.loop
        self.reported = []
        calls, rates, before = run.metrics.calls, run.inspector.rates(), run.clock.update
        loop.ended = True
        run.before = run.clock
        loop.close_window()
        report = self._report(calls, rates, before)
        loop.run_events("end", 0)
        self._end_epoch()
        return [report] if report.closed else []

    def _end_epoch(self) -> None:
        self.loop.ended = self.ended = True
        self.loop.run_events("epoch", 0)

    def _take_reports(self, reports: Sequence[Report | None]) -> None:
        self.reported.append((reports, self.run.inspector.rates()))

    def _report(self, calls: int, rates: dict[str, float], before: int) -> StepReport:
        players = len(self.engine.configured.optimizers)
        made = [[report for reports, _ in self.reported if (report := reports[i]) is not None] for i in range(players)]
        used: dict[str, Any] = rates if not self.reported else self.reported[0][1]
        if len(self.reported) > 1:
            used = {name: torch.tensor([each[name] for _, each in self.reported]) for name in used}
        logged = {entry.name: entry.last for entry in self.run.metrics.filled("train") if entry.at > calls}
        return StepReport(tuple(map(_merged, made)), logged, used, self.run.clock.update > before)

    # evaluating

    def evaluate(self, batches: Any, stage: str) -> dict[str, float]:
        """Return the metrics of a stage, on a copy of the module."""
        check_stage(stage)
        trainer = Trainer(**{**QUIET, **self.flags})
        run = trainer._attach(EVALUATED[stage], copied(self.module, None)[0], None)
        running.find_loaders(run)
        run.clock = self.run.clock
        running.evaluate(run, batches, None, None)
        return rows.results(run, stage, 1, False)[0]


class Held:
    """What a state holds, in the place of its metrics: what runs its steps, for as long as that stands there."""

    def __init__(self, stepper: Stepper) -> None:
        self._stepper, self._moves = stepper, stepper.moves

    @property
    def engine(self) -> TorchEngine:
        """The engine of its steps."""
        return self._stepper.engine

    def stepper(self, state: TrainState) -> Stepper:
        """Return what runs the steps from this state.

        Raises:
            ConfigurationError: it has moved on.
        """
        if self._stepper.moves != self._moves:
            raise moved_state(state.clock, self._stepper.run.clock)
        self._stepper.check_own(state)
        self._stepper.move_to(state)
        return self._stepper

    def checkpoint(self, state: TrainState) -> dict[str, Any]:
        """Return what a Trainer that stood at this state would save, as values of their own."""
        stepper = self.stepper(state)
        with isolate_rng():
            set_known_rng_state(state.rng)
            return copy.deepcopy(checkpoints.assemble(stepper.run, weights_only=False))

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise ConfigurationError(
            "a state cannot be copied by copy.deepcopy, since module, optimizers and schedulers belong together: make "
            "its functions by functional(module, donate=False), which leave the states that they are given as they are."
        )


def _merged(reports: list[Report]) -> Report | None:
    """One report of the updates of a batch: none, itself, or one whose fields have them as their first axis."""
    if len(reports) < 2:
        return reports[0] if reports else None
    norms = None if reports[0].norm is None else _stacked([report.norm for report in reports])
    return Report(
        _stacked([report.loss_sum for report in reports]), _stacked([report.weight for report in reports]), norms,
        _stacked([report.finite for report in reports]),
    )  # fmt: skip


def _stacked(values: Sequence[Any]) -> Tensor:
    return torch.stack([torch.as_tensor(value) for value in values])
