"""The torch engine of a run: holds the state, moves it through the kernel batch by batch, evaluates.

Eager, in place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from functrain.kernel import plan as plans
from functrain.kernel.backend import Backend
from functrain.kernel.epoch import tbptt
from functrain.kernel.plan import PlayerPlan
from functrain.kernel.state import Report, TrainState
from functrain.kernel.step import Action, Rules, micro_step, update
from functrain.trainer.adapter import Dispatch, Facts, Traits
from functrain.trainer.errors import ConfigurationError, NotFiniteError
from functrain.trainer.run import Run
from functrain.trainer.step_outputs import of_players
from functrain_torch import snapshot
from functrain_torch.device import apply_determinism, choose_device
from functrain_torch.family import Family
from functrain_torch.groups import counts, followed
from functrain_torch.kept import keep
from functrain_torch.manual import Manual
from functrain_torch.modes import Modes
from functrain_torch.module import LightningModule
from functrain_torch.optimizer_states import options, timing
from functrain_torch.optimizers import Configured
from functrain_torch.parts import StepParts, context_of, is_automatic, step_parts
from functrain_torch.precision import precision
from functrain_torch.steps import evaluation_step
from functrain_torch.strategy import OneDevice, Strategy
from functrain_torch.transfer import Transfer
from functrain_torch.tree import detached

UNCONFIGURED = Configured([], [], [])


class TorchEngine:
    """See `functrain.trainer.adapter.Engine`.

    Attributes:
        trains: it is configured to train; what follows is there only then.
        parts: what its steps are made of.
        manual: serves a module that steps its optimizers itself.
        groups: how many parameter groups each optimizer was made with; `_groups`, how many it had last.
        prepared: the optimizers and schedulers of a module that is in the midst of its training; None for a new fit.
        on_reports: called with the reports of every update; None where nobody asks.
    """

    parts: StepParts
    manual: Manual

    def __init__(self, run: Run, module: LightningModule) -> None:
        self.run = run
        self.module = module
        self.policy = precision(run.flags.precision)
        self.strategy: Strategy = OneDevice(choose_device(run.flags))
        self.state: TrainState | None = None
        self.trains = False
        self.grad_enabled = torch.is_grad_enabled()
        self.modes = Modes(run, module)
        self.family = Family(module)
        self.automatic = is_automatic(module, run.flags)
        self.pieces: int | None = run.flags.truncated_bptt_steps or module.truncated_bptt_steps
        self.prepared: Configured | None = None
        self.groups: list[int] = []
        self._groups: list[int] = []
        self.on_reports: Callable[[Sequence[Report | None]], None] | None = None
        self._given: dict[int, Any] = {}
        self._steps: dict[str, Callable[..., Any]] = {}

    # setting up

    def setup(self, stage: str) -> None:
        # A run within another's evaluation begins, and ends, without gradients.
        self.grad_enabled = self.run.around[1] is None or torch.is_grad_enabled()
        # The hooks before this may have made further parts.
        self.family = Family(self.module)
        for child in self.family.children:
            child.trainer = self.run.owner
        self.family.look_at(self.run.context)
        apply_determinism(self.run.flags)
        if self.policy.dtype is not None:
            self.module.to(self.policy.dtype)
        self.strategy.prepare(self.module)
        self.context = context_of(self.policy, self.strategy, self.automatic)
        transfer = Transfer(self.run.hooks, self.strategy.device, self.policy.dtype)
        self.transfer = None if transfer.idle else self.run.span("batch_transfer", transfer)

    def configure(self) -> Traits:
        run, module = self.run, self.module
        self.parts = step_parts(
            module,
            run.flags,
            run.context,
            hooks=run.hooks,
            strategy=self.strategy,
            configured=self.prepared,
            span=run.span,
        )
        check_optimizers(self.parts.configured.optimizers, run.outer)
        self.manual = Manual(self, module, self.parts, run.hooks, self.strategy, run.span)
        self.state, self.trains = self.parts.init(), True
        self.groups = self._groups = counts(self.configured.optimizers)
        frozen = [path for path, p in module.named_parameters() if not p.requires_grad]
        self._facts = Facts(
            {"precision": self.policy.name, "truncated_bptt_steps": str(self.pieces)},
            timing(self.configured),
            {**options(self.configured), **{f"freezing of {path}": "yes" for path in frozen}},
        )
        # Pieces of one batch make several updates: more than the plan counts on.
        per_batch = not self.automatic or bool(self.pieces)
        keeps = partial(keep, self) if run.flags.terminate_on_nan else None
        return Traits(self.configured.players(), per_batch, keep=keeps)

    @property
    def configured(self) -> Configured:
        """The optimizers and schedulers of the module; none in a run that does not train."""
        return self.parts.configured if self.trains else UNCONFIGURED

    def start(self, wants_outputs: bool, one_by_one: bool) -> Facts:
        self.wants_outputs = wants_outputs
        self.check_nan = bool(self.run.flags.terminate_on_nan)
        if wants_outputs:
            self.parts.backend.forward = self._keeping(self.parts.backend.forward)
        self.looks_after = bool(self.parts.schedulers.by_update) or self.check_nan or self.on_reports is not None
        self.single = self.run.plan.players == (PlayerPlan(),)
        self.special: Callable[[Any], None] | None = None
        if not self.automatic:
            self.special = self._train_by_hand
            self.manual.start_counting()
            self.manual.warn_of_window(self.run.flags.accumulate_grad_batches)
        elif self.pieces:
            self.special = self._train_in_pieces
        evaluating = self.modes.start() if self.prepared is None else []
        modes = {f"evaluation mode of {path}": "yes" for path in evaluating}
        return self._facts._replace(kept={**self._facts.kept, **modes})

    # training

    def train(self, batches: Iterator[Any], n: int) -> Dispatch:
        """See the protocol. One pass of this loop is one batch: to the device, through the kernel, schedulers."""
        parts, run, transfer, special, single = self.parts, self.run, self.transfer, self.special, self.single
        assert self.state is not None
        for player, count in zip(self.state.players, self._groups):  # noqa: B905 (as many; a keyword costs)
            if len(player.opt.param_groups) != count:
                self.follow_groups()
        if self.state.clock is not run.clock:
            self.state = self.state._replace(clock=run.clock)
        backend, rules, stop, scope = parts.backend, parts.rules, run.stop, run.metrics.current
        outputs: list[Any] = []
        count = 0
        for batch in islice(batches, n):
            if transfer is not None:
                batch = transfer(batch, 0)
            scope.batch = batch
            if special is None:
                clock = run.clock
                actions = plans.actions(run.plan, clock.epoch, clock.batch)
                closes = actions[0].closes if single else any(action.closes for action in actions)
                self.state, reports = micro_step(backend, rules, self.state, batch, actions, closes)
                run.clock = self.state.clock
                if self.state.hidden is not None:
                    self.state = self.state._replace(hidden=None)
                if self.looks_after:
                    self._after_update(reports, clock.batch)
            else:
                special(batch)
            if self.wants_outputs:
                outputs.append(self._output())
            count += 1
            if stop.raised:
                break
        return Dispatch(run.clock, count, ended=not count or (count < n and not stop.raised), outputs=outputs)

    def follow_groups(self) -> None:
        """The optimizers may have been given parameter groups: what is accumulated are the gradients of all of them."""
        now = counts(self.configured.optimizers)
        if self.state is not None and now != self._groups:
            self.state, self._groups = followed(self.state, clear=self.automatic), now

    def _train_by_hand(self, batch: Any) -> None:
        number = self.run.clock.batch
        if self.pieces:
            self.manual.train_in_pieces(self.module.tbptt_split_batch(batch, self.pieces))
        else:
            self.manual.train(batch)
        self.run.clock = self.manual.state.clock
        if self.check_nan:
            self._raise_on_nan(number)

    def _train_in_pieces(self, batch: Any) -> None:
        assert self.state is not None
        assert self.pieces is not None
        pieces = self.module.tbptt_split_batch(batch, self.pieces)
        window = self.run.plan.windows.at(self.run.clock.epoch)
        self.state, _ = tbptt(self.parts.backend, self.parts.rules, self.state, pieces, window, self._train_window)
        self.run.clock = self.state.clock

    def _train_window(
        self, backend: Backend[Any], rules: Rules, state: TrainState, pieces: Sequence[Any]
    ) -> tuple[TrainState, Any]:
        """An update within a batch: the position moves on and schedulers step, as after any other. All pieces are of
        the same batch, whose number the training step is told."""
        number, reports = state.clock.batch, ()
        for piece, closes in backend.with_last(pieces):
            state, reports = micro_step(backend, rules, state, piece, (Action(True, closes),) * len(rules), closes)
            state = state._replace(clock=state.clock._replace(batch=number))
        self.state, self.run.clock = state, state.clock
        self._after_update(reports, number)
        return state, reports

    def _after_update(self, reports: Sequence[Report | None], number: int) -> None:
        assert self.state is not None
        if self.check_nan:
            self._raise_on_nan(number)
        if self.on_reports is not None:
            self.on_reports(reports)
        self.parts.schedulers.after_update(self.state, reports, self.run.callback_metrics)

    def _keeping(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """Return the forward pass, whose outputs are kept for hooks: each player's last."""

        def keeping(state: TrainState, batch: Any, player: int) -> Any:
            output = self._given[player] = forward(state, batch, player)
            return output

        return keeping

    def _output(self) -> Any:
        """Return what the steps of a batch returned, for hooks."""
        given, self._given = self._given, {}
        return of_players(detached(given), self.automatic and len(self.configured.optimizers) > 1)

    def _raise_on_nan(self, number: int) -> None:
        output, epoch = self.parts.backend.output, self.run.clock.epoch
        loss = output["loss"] if isinstance(output, dict) else output
        if isinstance(loss, Tensor) and not math.isfinite(loss.item()):
            raise NotFiniteError.of_loss(epoch, number, loss.item())
        for name, parameter in self.module.named_parameters():
            if not torch.isfinite(parameter).all():
                raise NotFiniteError.of_parameter(name, epoch, number)

    def close_window(self) -> bool:
        """Update with what open windows hold."""
        assert self.state is not None
        run, clock = self.run, self.run.clock
        number = max(clock.batch - 1, 0)
        # The step is the last batch's, and its hooks are told so.
        self.state = self.state._replace(clock=clock._replace(batch=number))
        reports: list[Report | None] = [None] * len(self.state.players)
        for index, player in enumerate(self.state.players):
            if player.acc.count:
                self.state, reports[index] = update(self.parts.backend, self.parts.rules, self.state, index)
        closed = any(report is not None for report in reports)
        run.clock = clock._replace(update=clock.update + closed, skipped=self.state.clock.skipped)
        self.state = self.state._replace(clock=run.clock)
        if closed:
            self._after_update(reports, number)
        return closed

    def publish(self) -> None:
        """Nothing: what is trained is the module's own tensors."""

    def close_epoch(self, metrics: Mapping[str, Any]) -> None:
        if not self.automatic:
            self.manual.warn_of_bound(self.run.flags.gradient_clip_val)
        self.parts.schedulers.end_epoch(self.run.clock.epoch, metrics)

    def forward(self, batch: Any, number: int) -> Any:
        """Return what the first optimizer's training step gives for a batch, of which nothing else is done."""
        assert self.state is not None
        if self.transfer is not None:
            batch = self.transfer(batch, 0)
        state = self.state._replace(clock=self.run.clock._replace(batch=number))
        with nullcontext() if self.context is None else self.context():
            return self.parts.backend.forward(state, batch, 0)

    # evaluating

    def mode(self, stage: str, evaluating: bool) -> None:
        self.modes.evaluate(stage) if evaluating else self.modes.train(stage)

    def evaluate(self, stage: str, batches: Iterator[Any], n: int, first: int, loader: int, wants: bool) -> Dispatch:
        transfer, context, scope = self.transfer, self.context, self.run.metrics.current
        step = self._steps.get(stage)
        if step is None:
            step = self._steps[stage] = self.run.span(f"{stage}_step", evaluation_step(self.module, stage))
        outputs: list[Any] = []
        count = 0
        for batch in islice(batches, n):
            if transfer is not None:
                batch = transfer(batch, loader)
            scope.batch = batch
            if context is None:
                output = step(batch, first + count, loader)
            else:
                with context():
                    output = step(batch, first + count, loader)
            if wants:
                outputs.append(output)
            count += 1
        return Dispatch(self.run.clock, count, count < n, outputs)

    # the rest of the protocol

    def finish(self) -> None:
        """The values are in the module already. An error may have left it in an evaluation, or with frozen parts."""
        self.modes.restore()
        if self.trains:
            self.parts.toggle.undo()
            self.manual.stop_counting()
        self.family.give_back(*self.run.around)
        torch.set_grad_enabled(self.grad_enabled)

    def state_dict(self, weights_only: bool) -> dict[str, Any]:
        return snapshot.state_dict(self, weights_only)

    def load_state_dict(self, saved: Mapping[str, Any] | TrainState, weights_only: bool) -> None:
        snapshot.load_state(self, saved, weights_only)


def check_optimizers(optimizers: Sequence[object], outer: Run | None) -> None:
    """A run within another has optimizers of its own.

    Raises:
        ConfigurationError: it has one of the other's.
    """
    if outer is None:
        return
    theirs = outer.engine.configured.optimizers if isinstance(outer.engine, TorchEngine) else []
    shared = next((optimizer for optimizer in optimizers if any(optimizer is other for other in theirs)), None)
    if shared is not None:
        raise ConfigurationError(
            f"{type(outer.module).__name__}.configure_optimizers returned the very {type(shared).__name__} of the run "
            "that this one is within, whose state would be changed; make a new one in it."
        )
    check_optimizers(optimizers, outer.outer)
