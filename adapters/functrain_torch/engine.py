"""The torch engine of a run: holds the state, moves it through the kernel batch by batch, evaluates.

Eager, in place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from functrain.kernel import plan as plans
from functrain.kernel.epoch import tbptt
from functrain.kernel.plan import PlayerPlan
from functrain.kernel.scale import Clip
from functrain.kernel.state import Accumulator, LossScale, Player, TrainState
from functrain.kernel.step import Rule, Rules, play, step, update
from functrain.trainer.context import Context
from functrain.trainer.errors import ConfigurationError, NotFiniteError
from functrain.trainer.hooks import adapt, overrides
from functrain.trainer.module import ModuleBase
from functrain.trainer.planning import clip as clip_of
from functrain.trainer.run import Run
from functrain.trainer.step_outputs import of_players
from functrain_torch import snapshot
from functrain_torch.device import apply_determinism, choose_device
from functrain_torch.hooked import HookedBackend, hooks_of_the_step
from functrain_torch.manual import ManualOptimization
from functrain_torch.modes import Modes
from functrain_torch.optimizer_states import options, timing
from functrain_torch.optimizers import (
    Configured,
    Scheduler,
    needs_closure,
    parameters_of,
    step_scheduler,
    understand,
)
from functrain_torch.precision import precision
from functrain_torch.transfer import Transfer
from functrain_torch.tree import detached

STEP_ARGS = {
    "training": ("batch", "batch_idx", "optimizer_idx", "hiddens"),
    "validation": ("batch", "batch_idx", "dataloader_idx"),
    "test": ("batch", "batch_idx", "dataloader_idx"),
    "predict": ("batch", "batch_idx", "dataloader_idx"),
}


class TorchEngine(ManualOptimization, Modes):
    """See `functrain.trainer.adapter.Engine`."""

    compiled = passes_logs = False

    def __init__(self, run: Run, module: Any) -> None:
        self.run = run
        self.module = module
        self.policy = precision(run.flags.precision)
        self.device = choose_device(run.flags)
        self.state: TrainState | None = None
        self.outputs: list[Any] = []
        self.given: dict[int, Any] = {}
        self.configured = Configured([], [], [])
        self.rules: Rules = ()
        self.automatic = module.automatic_optimization and run.flags.automatic_optimization is not False
        self.pieces: int | None = run.flags.truncated_bptt_steps or module.truncated_bptt_steps
        # Pieces of one batch make several updates: more than the plan counts on.
        self.per_batch = not self.automatic or bool(self.pieces)
        self.batch_idx = 0
        self.resumed_windows: dict[int, list[Any]] = {}
        self._modes, self.metrics_before = {}, {}
        self.facts: dict[str, dict[str, str]] = {"now": {}, "kept": {}}
        self._steps: dict[str, Callable[..., Any]] = {}
        self._handles: list[Any] = []
        self.children: list[Any] = []

    # setting up

    def setup(self, stage: str) -> None:
        # Modules within the module log into the same run.
        self.children = [m for m in self.module.modules() if isinstance(m, ModuleBase) and m is not self.module]
        for child in self.children:
            child.trainer = self.run.owner
        self._look_at(self.run.context)
        apply_determinism(self.run.flags)
        if self.policy.dtype is not None:
            self.module.to(self.policy.dtype)
        if self.module.device != self.device:
            self.module.to(self.device)
        # By hand, weights change anywhere within a step, in ways that nobody is told of.
        context = partial(self.policy.context, self.device.type, keep_casts=self.automatic)
        self.context = context if self.policy.autocast is not None else None
        self.transfer = Transfer(self.run.hooks, self.module, self.device, self.policy.dtype)
        self._steps = {}

    def _look_at(self, context: Context | None) -> None:
        for part in (self.module, *self.children):
            part._context = context

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Within it nothing is logged."""
        self._look_at(self.run.context.silenced())
        try:
            yield
        finally:
            self._look_at(self.run.context)

    def configure(self) -> None:
        """Optimizers, schedulers and the initial state, each checked."""
        name = type(self.module).__name__
        for method in ("training_step", "configure_optimizers"):
            if not overrides(self.module, method):
                raise ConfigurationError(f"{name}.{method} is not defined; trainer.fit needs it.")
        self.configured = understand(self.module.configure_optimizers(), name)
        if not self.configured.optimizers and self.automatic:
            raise ConfigurationError(
                f"{name}.configure_optimizers gave no optimizer; give one, or set automatic_optimization=False to do "
                "without."
            )
        self._check_parameters(name)
        frozen = [path for path, p in self.module.named_parameters() if not p.requires_grad]
        self.facts["kept"] = options(self.configured) | {f"freezing of {path}": "yes" for path in frozen}
        self.facts["timing"] = timing(self.configured)
        scale = self.policy.scale
        players = tuple(
            Player(
                optimizer,
                # A frozen parameter may be unfrozen later.
                Accumulator(tuple(parameters_of(optimizer))),
                None if scale is None else LossScale(scale.init),
            )
            for optimizer in self.configured.optimizers
        )
        self.state = TrainState(self.module, players)

    def _check_parameters(self, name: str) -> None:
        """Every trainable parameter has an optimizer, and every optimizer's parameter is the module's."""
        own = {id(p): n for n, p in self.module.named_parameters()}
        moved = {id(p) for optimizer in self.configured.optimizers for p in parameters_of(optimizer)}
        if self.configured.optimizers and not own.keys() & moved and own:
            raise ConfigurationError(
                f"{name}.configure_optimizers: the optimizer has none of the module's parameters; was it made of a "
                "copy?"
            )
        left = [n for n, p in self.module.named_parameters() if p.requires_grad and id(p) not in moved]
        if left and self.configured.optimizers:
            import warnings

            warnings.warn(
                f"{name}: no optimizer trains {', '.join(left[:5])}{' and more' if len(left) > 5 else ''}; give these "
                "parameters to an optimizer, or set requires_grad=False to freeze them.",
                UserWarning,
                stacklevel=2,
            )

    def players(self) -> tuple[PlayerPlan, ...]:
        return self.configured.players()

    def start(self, wants_outputs: bool) -> None:
        """Resolve once what would cost at every step."""
        self.wants_outputs = wants_outputs
        self.step_args = STEP_ARGS["training"]
        self.training_step = adapt(
            self.module.training_step, self.step_args, f"{type(self.module).__name__}.training_step"
        )
        self.step_end = self.module.training_step_end if overrides(self.module, "training_step_end") else None
        flags, hooks = self.run.flags, self.run.hooks
        clip = clip_of(flags)
        hooked = hooks_of_the_step(hooks) or flags.track_grad_norm not in (-1, "-1")
        closures = any(needs_closure(optimizer) for optimizer in self.configured.optimizers)
        several = len(self.configured.optimizers) > 1
        # A hook that looks at gradients sees unscaled means before clipping: then the backend clips, after it.
        self.rules = tuple(Rule(Clip() if hooked else clip, self.policy.scale) for _ in self.configured.optimizers)
        self.backend = HookedBackend(self, clip, hooked, closures, several)
        self.check_nan = bool(flags.terminate_on_nan)
        self.by_update = [s for s in self.configured.schedulers if s.interval == "step"] if self.automatic else []
        self.single = self.run.plan.players == (PlayerPlan(),)
        self.backend.windows.update(self.resumed_windows)
        if not self.automatic:
            self.count_steps()
        self.into_training()

    # training

    def train(self, batches: Iterator[Any], n: int) -> int:
        """See the protocol. One pass of this loop is one batch: to the device, through the kernel, schedulers."""
        stop, metrics, transfer = self.run.stop, self.run.metrics, self.transfer
        self.outputs = []
        one = self._one_by_hand if not self.automatic else self._one_in_pieces if self.pieces else self._one
        count = 0
        for batch in islice(batches, n):
            if not transfer.idle:
                batch = transfer(batch, 0)
            metrics.batch = batch
            one(batch)
            count += 1
            if stop.raised:
                break
        return count

    def _one(self, batch: Any) -> None:
        clock = self.run.clock
        self.batch_idx = clock.batch
        turns = plans.turns(self.run.plan, clock.epoch, clock.batch)
        closes = turns[0].closes if self.single else any(turn.closes for turn in turns)
        self.state, reports = play(self.backend, self.rules, self.state, batch, turns, closes)  # type: ignore[arg-type]
        self.run.clock = self.state.clock
        if self.state.hidden is not None:
            self.state = self.state._replace(hidden=None)
        if self.by_update or self.check_nan or self.wants_outputs:
            self._after(reports)

    def _one_in_pieces(self, batch: Any) -> None:
        self.batch_idx = self.run.clock.batch
        pieces = self.module.tbptt_split_batch(batch, self.pieces)
        window = self.run.plan.windows.at(self.run.clock.epoch)
        assert self.state is not None
        self.state, _ = tbptt(self.backend, self.rules, self.state, pieces, window, self._one_window)
        self.run.clock = self.state.clock
        self.keep_output()

    def _one_window(self, backend: Any, rules: Rules, state: TrainState, pieces: Any) -> tuple[TrainState, Any]:
        """An update within a batch: the position moves on and schedulers step, as after any other."""
        state, reports = step(backend, rules, state, pieces)
        self.state, self.run.clock = state, state.clock._replace(batch=self.batch_idx)
        self._after_update(reports)
        return state, reports

    def _after(self, reports: tuple[Any, ...]) -> None:
        """What some runs do after a batch: schedulers that count updates, a look for NaN, outputs for hooks."""
        self._after_update(reports)
        self.keep_output()

    def keep_output(self) -> None:
        """What the steps of a batch gave, for hooks: each player's last."""
        if self.wants_outputs:
            several = self.automatic and len(self.configured.optimizers) > 1
            self.outputs.append(of_players(detached(self.given), several))
            self.given = {}

    def _after_update(self, reports: tuple[Any, ...]) -> None:
        if self.check_nan:
            self._raise_on_nan()
        for config in self.by_update:
            report = reports[config.player]
            assert self.state is not None
            if report is None or report.finite is False:
                continue
            updates = self.state.players[config.player].updates
            if plans.passed(config.frequency, updates - 1, updates):
                self._step_scheduler(config, self.run.callback_metrics() if config.reduce_on_plateau else {})

    def _step_scheduler(self, config: Scheduler, metrics: Mapping[str, Any]) -> None:
        step_scheduler(config, metrics, self.run.hooks.lr_scheduler_step)

    def _raise_on_nan(self) -> None:
        loss = self.backend.output["loss"] if isinstance(self.backend.output, dict) else self.backend.output
        if isinstance(loss, Tensor) and not math.isfinite(loss.item()):
            raise NotFiniteError(f"the loss is {loss.item()} at epoch {self.run.clock.epoch}, batch {self.batch_idx}.")
        for name, parameter in self.module.named_parameters():
            if not torch.isfinite(parameter).all():
                raise NotFiniteError(
                    f"parameter {name!r} is not finite after epoch {self.run.clock.epoch}, batch {self.batch_idx}: a "
                    "lower learning "
                    "rate or gradient_clip_val may help."
                )

    def forward(self, state: TrainState, batch: Any, player: int) -> Any:
        """The module's training step, as the kernel's forward pass."""
        output = self.training_step(batch, self.batch_idx, player, state.hidden)
        if self.step_end is not None:
            output = self.step_end(output)
        if self.wants_outputs:
            self.given[player] = output
        return output

    def close_window(self) -> bool:
        """Update with what open windows hold."""
        assert self.state is not None
        self.batch_idx = max(self.run.clock.batch - 1, 0)
        reports: list[Any] = [None] * len(self.state.players)
        for index, player in enumerate(self.state.players):
            if player.acc.count:
                self.state, reports[index] = update(self.backend, self.rules, self.state, index)
        if not any(reports):
            return False
        self.run.clock = self.run.clock._replace(update=self.run.clock.update + 1, skipped=self.state.clock.skipped)
        self.state = self.state._replace(clock=self.run.clock)
        self._after_update(tuple(reports))
        return True

    def replay(self, look: Callable[[], None]) -> None:
        """Nothing: a dispatch ends where step metrics are written."""

    def publish(self) -> None:
        """Nothing: what is trained is the module's own tensors."""

    def epoch_start(self) -> None:
        assert self.state is not None
        self.state = self.state._replace(clock=self.run.clock)

    def epoch_end(self, metrics: dict[str, Any]) -> None:
        for config in self.configured.schedulers:
            due = plans.passed(config.frequency, self.run.clock.epoch, self.run.clock.epoch + 1)
            if config.interval == "epoch" and self.automatic and due:
                self._step_scheduler(config, metrics)

    def idle(self) -> str | None:
        if not self.automatic or self.state is None or self.state.moved:
            return None
        name = f"{type(self.module).__name__}.training_step"
        if self.backend.output is None:
            return f"{name} gave None for its batches; was `return loss` forgotten?"
        return f"no update's gradients were finite; look at the loss that {name} gives, or at the precision."

    # evaluating

    def evaluate(self, stage: str, batch: Any, batch_idx: int, loader_idx: int) -> Any:
        if not self.transfer.idle:
            batch = self.transfer(batch, loader_idx)
        self.run.metrics.batch = batch
        step = self._steps.get(stage) or self._step_of(stage)
        if self.context is None:
            return step(batch, batch_idx, loader_idx)
        with self.context():
            return step(batch, batch_idx, loader_idx)

    def _step_of(self, stage: str) -> Callable[..., Any]:
        name = f"{stage}_step"
        if stage != "predict" and not overrides(self.module, name):
            raise ConfigurationError(f"{type(self.module).__name__}.{name} is not defined; the {stage} loop needs it.")
        step = adapt(getattr(self.module, name), STEP_ARGS[stage], f"{type(self.module).__name__}.{name}")
        if overrides(self.module, f"{stage}_step_end"):
            inner, end = step, getattr(self.module, f"{stage}_step_end")
            step = lambda *args: end(inner(*args))  # noqa: E731
        self._steps[stage] = step
        return step

    def evaluate_many(self, stage: str, batches: Iterator[Any], n: int, first: int, loader_idx: int) -> int:
        count = 0
        for batch in islice(batches, n):
            self.evaluate(stage, batch, first + count, loader_idx)
            count += 1
        return count

    # the rest of the protocol

    def finish(self) -> None:
        """The values are in the module already. An error may have left it in an evaluation, or with frozen parts."""
        self.put_back_modes()
        self.untoggle()
        self.stop_counting()
        self._look_at(None)
        torch.set_grad_enabled(True)

    def snapshot(self, weights_only: bool) -> dict[str, Any]:
        return snapshot.take(self, weights_only)

    def restore(self, checkpoint: dict[str, Any], weights_only: bool, strict: bool = True) -> None:
        snapshot.put_back(self, checkpoint, weights_only, strict)
