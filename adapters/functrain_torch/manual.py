"""Optimization by hand: the same verbs, called by the user's training_step."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from functrain.kernel.scale import ScaleRule, next_scale
from functrain.kernel.state import Clock, LossScale, TrainState
from functrain.trainer.hooks import Hooks
from functrain.trainer.spans import Span, unmeasured
from functrain_torch.backend import multiply
from functrain_torch.module import LightningModule
from functrain_torch.parts import StepParts
from functrain_torch.precision import UpdatesOutside
from functrain_torch.serving import without_optimizer
from functrain_torch.strategy import Strategy
from functrain_torch.toggle import Toggle
from functrain_torch.tree import tree_map

Position: TypeAlias = tuple[set[int], dict[int, bool], bool, list[tuple[Tensor, bool]]]
"""Of optimization by hand between two batches: what is unscaled, what was finite, whether backward was called, and what
is frozen."""


class Holder(Protocol):
    """Who holds the state: optimizers may be stepped at any time of a run, in hooks too."""

    state: TrainState | None


class HandledOptimizer:
    """An optimizer as `self.optimizers()` returns it: torch's own, whose steps are counted and unscaled.

    Every other attribute is the wrapped optimizer's, its class too, so that schedulers may be made of it.
    """

    def __init__(self, manual: Manual, player: int) -> None:
        self.manual = manual
        self.player = player
        self.optimizer = manual.parts.configured.optimizers[player]

    def step(self, closure: Callable[[], Any] | None = None, **kwargs: Any) -> Any:
        """Step, with the gradients unscaled before; not where one is not finite."""
        return self.manual.step(self.player, closure, kwargs)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients."""
        self.optimizer.zero_grad(set_to_none=set_to_none)

    def toggle_model(self, sync_grad: bool = True) -> AbstractContextManager[None]:
        """Let only this optimizer's parameters require gradients, until `untoggle_model`, or in a `with` block.

        Args:
            sync_grad: of no effect: where several processes train, they step with the mean gradients.
        """
        self.manual.toggle.only(self.optimizer)
        return _Toggled(self.manual.toggle)

    def untoggle_model(self) -> None:
        """Undo `toggle_model`."""
        self.manual.toggle.undo()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.optimizer, name)

    @property  # type: ignore[override]
    def __class__(self) -> type[Any]:
        return type(self.optimizer)


class _Toggled:
    """The block within which one optimizer plays."""

    def __init__(self, toggle: Toggle) -> None:
        self.toggle = toggle

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.toggle.undo()


def arguments_of_backward(method: Callable[..., Any], given: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what a module's own `backward` gets after the loss: the optimizer and its index where it names them (None
    where they are not known), then the arguments of `Tensor.backward`."""
    rest = without_optimizer(given)
    known = given[: len(given) - len(rest)]
    named = _names(getattr(method, "__func__", method)) & {"optimizer", "optimizer_idx"}
    return (*known, *[None] * 2)[: len(named)] + rest


@cache
def _names(method: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(method).parameters)


class Manual:
    """What a module gets whose `automatic_optimization` is False: its steps are counted, its losses scaled.

    Args:
        holder: holds the state, in which updates are counted.
        hooks: those of the step, called where the module steps by itself.
        span: returns what is called in place of `backward` and `step`; see `Run.span`.

    Attributes:
        clipped: the module has clipped gradients.
        backward: runs backward of the scaled loss, the module's own where it has one. All optimizers have the same
            scale, so it does not matter whose loss it is. It takes the arguments of `Tensor.backward`; an optimizer, or
            None, may stand before them.
        step: steps one optimizer, of which it takes the number, the closure and further arguments; under a loss scale
            with its gradients unscaled, and not where one is not finite.
    """

    def __init__(
        self,
        holder: Holder,
        module: LightningModule,
        parts: StepParts,
        hooks: Hooks,
        strategy: Strategy,
        span: Span = unmeasured,
    ) -> None:
        self.holder = holder
        self.module = module
        self.parts = parts
        self.hooks = hooks
        self.device = strategy.device
        self._stepped = False
        self._skipped = 0
        # Since the last backward: which parameters' gradients were unscaled, and which players' were found finite.
        self._unscaled: set[int] = set()
        self._finite: dict[int, bool] = {}
        self._backward = self._warned = False
        self._handles: list[Any] = []
        self._handled: list[HandledOptimizer] = []
        self.clipped = False
        self.backward = span("backward", self._differentiate)
        self.step = span("optimizer_step", self._step)

    @property
    def toggle(self) -> Toggle:
        """Freezes the parameters of all optimizers but one."""
        return self.parts.toggle

    @property
    def state(self) -> TrainState:
        """The state of the run."""
        assert self.holder.state is not None
        return self.holder.state

    @property
    def scale(self) -> LossScale | None:
        """The loss scale, one for all optimizers; None for none."""
        players = self.state.players
        return players[0].scale if players else None

    @property
    def rule(self) -> ScaleRule | None:
        """How the loss scale moves."""
        return self.parts.rules[0].scale if self.parts.rules else None

    def train(self, batch: Any) -> None:
        """One batch: the training step does everything; an update is counted where any optimizer stepped."""
        self._train(batch)
        clock = self.state.clock
        self.holder.state = self.state._replace(clock=clock._replace(batch=clock.batch + 1))

    def train_in_pieces(self, pieces: Iterable[Any]) -> None:
        """One batch that is cut along time: the training step does everything with each piece, and hands its hidden
        state on to the next."""
        self.holder.state = self.state._replace(hidden=None)
        for piece in pieces:
            self._train(piece)
            output = self.parts.backend.output
            hidden = output.get("hiddens") if isinstance(output, dict) else None
            if hidden is not None:
                self.holder.state = self.state._replace(hidden=tree_map(Tensor.detach, hidden))
        clock = self.state.clock
        self.holder.state = self.state._replace(hidden=None, clock=clock._replace(batch=clock.batch + 1))

    def _train(self, batch: Any) -> None:
        backend, clock = self.parts.backend, self.state.clock
        self._stepped, self._skipped = False, 0
        if backend.context is None:
            backend.output = backend.forward(self.state, batch, 0)
        else:
            with backend.context():
                backend.output = backend.forward(self.state, batch, 0)
        self.settle()
        clock = Clock(clock.epoch, clock.batch, clock.update + self._stepped, clock.skipped + self._skipped)
        self.holder.state = self.state._replace(clock=clock)

    def warn_of_window(self, size: object) -> None:
        """Say that a window of the Trainer's flag is left to the module."""
        if size not in (1, {0: 1}):
            warnings.warn(
                f"{type(self.module).__name__} optimizes by hand: Trainer(accumulate_grad_batches={size}) does "
                "nothing; step at every so many batches in training_step.",
                UserWarning,
                stacklevel=2,
            )

    def warn_of_bound(self, bound: float | None) -> None:
        """Say, where an epoch has ended, that a bound of the Trainer's flag was not applied."""
        if bound and not self.clipped:
            self.clipped = True
            warnings.warn(
                f"{type(self.module).__name__} optimizes by hand: Trainer(gradient_clip_val={bound}) does nothing by "
                "itself; call self.clip_gradients(optimizer) before the optimizer's step.",
                UserWarning,
                stacklevel=2,
            )

    def start_counting(self) -> None:
        """From now on every step of an optimizer is counted, torch's own `step` too; until `stop_counting`."""
        for index, optimizer in enumerate(self.parts.configured.optimizers):
            self._handles.append(optimizer.register_step_post_hook(lambda *_, index=index: self._count(index)))
            if self.rule is not None:
                self._handles.append(optimizer.register_step_pre_hook(lambda *_, index=index: self._check(index)))
        if self.parts.backend.context is not None:
            self._handles.extend(UpdatesOutside(self.parts.backend.context, self.device.type).register())

    def stop_counting(self) -> None:
        """Undo `start_counting`."""
        while self._handles:
            self._handles.pop().remove()

    def _count(self, player: int) -> None:
        self._stepped = True
        me = self.state.players[player]
        self.holder.state = self.state.with_player(player, me._replace(updates=me.updates + 1))

    def _check(self, player: int) -> None:
        """Tell of a step with gradients that are scaled still, as torch's own optimizer takes it."""
        me = self.state.players[player]
        if me.scale is None or not self._backward or self._warned:
            return
        if all(id(p) in self._unscaled for p in me.acc.grads):
            return
        self._warned = True
        warnings.warn(
            f"{type(self.module).__name__}: {type(me.opt).__name__}.step() is torch's own, and takes gradients as "
            f"manual_backward left them, scaled by {me.scale.value:g} for precision=16: step what self.optimizers() "
            "returns, or call loss.backward() instead.",
            UserWarning,
            stacklevel=4,
        )

    def settle(self) -> None:
        """Move the loss scale, one for all optimizers, by the steps since the last backward: once, as they are one
        round. Gradients that wait for their step move with it."""
        rule, scale = self.rule, self.scale
        if rule is None or scale is None or not self._finite:
            return
        new = next_scale(self.parts.backend, rule, scale, all(self._finite.values()))
        if new.value != scale.value:
            waiting = [p for p in self._parameters() if id(p) not in self._unscaled]
            multiply(waiting, new.value / scale.value)
        players = tuple(player._replace(scale=new) for player in self.state.players)
        self.holder.state = self.state._replace(players=players)
        self._finite = {}

    def scaled(self) -> dict[int, Tensor]:
        """Return the gradients that are there, by the parameter's id, all of them scaled: as if no step were taken
        yet."""
        there = {id(p): p.grad for p in self.module.parameters() if p.grad is not None}
        if self.scale is None:
            return there
        return {key: grad * self.scale.value if key in self._unscaled else grad for key, grad in there.items()}

    def position(self) -> Position:
        """Return where it stands between two batches, beside what is in the state."""
        return set(self._unscaled), dict(self._finite), self._backward, list(self.toggle.before)

    def go_to(self, position: Position) -> None:
        """Stand where `position` said."""
        unscaled, finite, self._backward, toggled = position
        self._unscaled, self._finite, self.toggle.before = set(unscaled), dict(finite), list(toggled)

    def continue_from(self, other: Manual) -> None:
        """Be where the other is, who serves the module that this one's is an exact copy of."""
        mine, theirs = dict(self.module.named_parameters()), dict(other.module.named_parameters())
        self._unscaled = {id(mine[path]) for path, p in theirs.items() if id(p) in other._unscaled}
        self._finite, self._backward, self._told = dict(other._finite), other._backward, True

    def _parameters(self) -> list[Tensor]:
        """Return those of all optimizers, each once."""
        return list({id(p): p for player in self.state.players for p in player.acc.grads}.values())

    def handled(self) -> list[HandledOptimizer]:
        """Return the optimizers as `self.optimizers()` returns them: the same objects every time."""
        own = self.parts.configured.optimizers
        if [id(handled.optimizer) for handled in self._handled] != [id(optimizer) for optimizer in own]:
            self._handled = [HandledOptimizer(self, index) for index in range(len(own))]
        return self._handled

    def _differentiate(self, loss: Tensor, /, *args: Any, **kwargs: Any) -> None:
        self.settle()
        if self.scale is not None:
            if self._unscaled:
                # What was stepped with and is still there gets more of the same scale.
                multiply([p for p in self._parameters() if id(p) in self._unscaled], self.scale.value)
                self._unscaled = set()
            self._backward = True
            loss = loss.float() * self.scale.value
        hooks = self.hooks
        if hooks.on_before_backward is not None:
            hooks.on_before_backward(loss)
        if hooks.backward is None:
            backward, args = loss.backward, without_optimizer(args)
        else:
            backward, args = self.module.backward, (loss, *arguments_of_backward(self.module.backward, args))
        if self.parts.backend.context is None:
            backward(*args, **kwargs)
        else:
            with torch.autocast(self.device.type, enabled=False):
                backward(*args, **kwargs)
        if hooks.on_after_backward is not None:
            hooks.on_after_backward()

    def _step(self, player: int, closure: Callable[[], Any] | None, kwargs: dict[str, Any]) -> Any:
        optimizer, hooks = self.parts.configured.optimizers[player], self.hooks
        if self.rule is not None:
            loss = None
            if closure is not None:
                with torch.enable_grad():
                    loss = closure()
            if not self.unscale(player):
                self._skipped += 1
                self._count(player)
                return loss
            if closure is not None:
                closure = self._begun(player, closure, loss)
        if hooks.on_before_optimizer_step is not None:
            hooks.on_before_optimizer_step(optimizer, player)
        return optimizer.step(**kwargs) if closure is None else optimizer.step(closure, **kwargs)

    def _begun(self, player: int, closure: Callable[[], Any], loss: Any) -> Callable[[], Any]:
        """Return a closure that was evaluated once, to this loss; further evaluations unscale too."""
        first = [loss]

        def again() -> Any:
            if first:
                return first.pop()
            loss = closure()
            self.unscale(player)
            return loss

        return again

    def unscale_of(self, optimizer: Any) -> None:
        """Unscale the gradients of an optimizer of the module, its own or as `self.optimizers()` returns it."""
        own = getattr(optimizer, "optimizer", optimizer)
        for player, configured in enumerate(self.parts.configured.optimizers):
            if configured is own and self.rule is not None:
                self.unscale(player)

    def unscale(self, player: int) -> bool:
        """Unscale an optimizer's gradients, once between two backwards. Returns whether they are finite."""
        known = self._finite.get(player)
        if known is not None:
            return known
        me, backend = self.state.players[player], self.parts.backend
        assert me.scale is not None
        scaled = [p for p in me.acc.grads if id(p) not in self._unscaled]
        multiply(scaled, 1.0 / me.scale.value)
        self._unscaled.update(map(id, scaled))
        finite = self._finite[player] = bool(backend.isfinite(backend.norm(me.acc.grads, float("inf"))))
        return finite
