"""Optimization by hand: the same verbs, called by the user's training_step. A part of the torch engine."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from functrain.kernel.plan import passed
from functrain.kernel.scale import next_scale
from functrain.kernel.state import Clock
from functrain.trainer.run import Run
from functrain_torch.backend import multiply
from functrain_torch.precision import UpdatesOutside


class HandledOptimizer:
    """An optimizer as `self.optimizers()` gives it: torch's own, whose steps are counted and unscaled.

    Every other attribute is the wrapped optimizer's.
    """

    def __init__(self, engine: Any, player: int) -> None:
        self.engine = engine
        self.player = player
        self.optimizer = engine.configured.optimizers[player]

    def step(self, closure: Callable[[], Any] | None = None, **kwargs: Any) -> Any:
        """Step, with the gradients unscaled before; not where one is not finite."""
        return self.engine.manual_step(self.player, closure, kwargs)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients."""
        self.optimizer.zero_grad(set_to_none=set_to_none)

    def toggle_model(self) -> None:
        """Let only this optimizer's parameters require gradients."""
        self.engine.toggle(self.optimizer)

    def untoggle_model(self) -> None:
        """Undo `toggle_model`."""
        self.engine.untoggle()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.optimizer, name)


def without_optimizer(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments of `Tensor.backward` among these: an optimizer (or None) and its index may stand before them."""
    if not args or isinstance(args[0], Tensor) or (args[0] is None and isinstance(args[-1], bool)):
        return args
    rest = args[1:]
    return rest[1:] if rest and type(rest[0]) is int else rest


def arguments_of_backward(method: Callable[..., Any], given: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a module's own `backward` gets after the loss: the optimizer and its index where it names them (None where
    they are not known), then the arguments of `Tensor.backward`."""
    rest = without_optimizer(given)
    known = given[: len(given) - len(rest)]
    named = _names(getattr(method, "__func__", method)) & {"optimizer", "optimizer_idx"}
    return (*known, *[None] * 2)[: len(named)] + rest


@cache
def _names(method: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(method).parameters)


class ManualOptimization:
    """What the engine offers to a module whose `automatic_optimization` is False."""

    run: Run
    module: Any
    state: Any
    clock: Any
    configured: Any
    backend: Any
    policy: Any
    batch_idx: int
    keep_output: Any
    forward: Any
    check_nan: bool
    _raise_on_nan: Any
    _handles: list[Any]
    _finite: list[bool]
    device: torch.device
    _toggled: list[tuple[Any, bool]] | None = None
    _stepped: bool = False

    def _one_by_hand(self, batch: Any) -> None:
        """One batch: the training step does everything; an update is counted where any optimizer stepped."""
        self.batch_idx = self.run.clock.batch
        self._stepped, self._finite = False, []
        context = self.backend.context
        if context is None:
            output = self.forward(self.state, batch, 0)
        else:
            with context():
                output = self.forward(self.state, batch, 0)
        self._move_scale()
        skipped = self._finite.count(False)
        clock = self.run.clock
        self.run.clock = Clock(clock.epoch, clock.batch + 1, clock.update + self._stepped, clock.skipped + skipped)
        self.state = self.state._replace(clock=self.run.clock)
        self.backend.output = output
        if self.check_nan:
            self._raise_on_nan()
        self.keep_output()

    def count_steps(self) -> None:
        """From now on every step of an optimizer is counted, torch's own `step` too; until `finish`."""
        for index, optimizer in enumerate(self.configured.optimizers):
            self._handles.append(optimizer.register_step_post_hook(lambda *_, index=index: self._count(index)))
        if self.backend.context is not None:
            self._handles.extend(UpdatesOutside(self.backend.context, self.device.type).register())

    def stop_counting(self) -> None:
        """Undo `count_steps`."""
        while self._handles:
            self._handles.pop().remove()

    def _count(self, player: int) -> None:
        self._stepped = True
        me = self.state.players[player]
        self.state = self.state.with_player(player, me._replace(updates=me.updates + 1))

    def _move_scale(self) -> None:
        """One loss scale for all optimizers, moved once a batch: gradients that wait for their step keep theirs."""
        rule, finite = self.policy.scale, self._finite
        if rule is None or not finite:
            return
        scale = next_scale(self.backend, rule, self.state.players[0].scale, all(finite))
        players = tuple(player._replace(scale=scale) for player in self.state.players)
        self.state = self.state._replace(players=players)

    def wrapped_optimizers(self) -> list[HandledOptimizer]:
        return [HandledOptimizer(self, index) for index in range(len(self.configured.optimizers))]

    def manual_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Backward of the scaled loss, the module's own where it has one. All optimizers have the same scale, so it
        does not matter whose loss it is.

        Args:
            args, kwargs: those of `Tensor.backward`; an optimizer, or None, may stand before them.
        """
        if self.policy.scale is not None and self.state.players:
            loss = loss.float() * self.state.players[0].scale.value
        hooks = self.run.hooks
        if hooks.on_before_backward is not None:
            hooks.on_before_backward(loss)
        if hooks.backward is None:
            backward, args = loss.backward, without_optimizer(args)
        else:
            backward, args = self.module.backward, (loss, *arguments_of_backward(self.module.backward, args))
        if self.backend.context is None:
            backward(*args, **kwargs)
        else:
            with torch.autocast(self.device.type, enabled=False):
                backward(*args, **kwargs)
        if hooks.on_after_backward is not None:
            hooks.on_after_backward()

    def manual_step(self, player: int, closure: Callable[[], Any] | None, kwargs: dict[str, Any]) -> Any:
        """Step one optimizer; under a loss scale with its gradients unscaled, and not where one is not finite."""
        optimizer, hooks = self.configured.optimizers[player], self.run.hooks
        if self.policy.scale is not None:
            loss = None
            if closure is not None:
                with torch.enable_grad():
                    loss = closure()
            if not self._unscale(player):
                self._count(player)
                return loss
            if closure is not None:
                closure = self._begun(player, closure, loss)
        if hooks.on_before_optimizer_step is not None:
            hooks.on_before_optimizer_step(optimizer, player)
        return optimizer.step(**kwargs) if closure is None else optimizer.step(closure, **kwargs)

    def _begun(self, player: int, closure: Callable[[], Any], loss: Any) -> Callable[[], Any]:
        """A closure that was evaluated once, to this loss; further evaluations unscale too."""
        first = [loss]

        def again() -> Any:
            if first:
                return first.pop()
            loss = closure()
            self._unscale(player)
            return loss

        return again

    def _unscale(self, player: int) -> bool:
        me = self.state.players[player]
        multiply(me.acc.grads, 1.0 / me.scale.value)
        finite = bool(self.backend.isfinite(self.backend.norm(me.acc.grads, float("inf"))))
        self._finite.append(finite)
        return finite

    def toggle(self, optimizer: Any) -> None:
        """Only this optimizer's parameters require gradients, until `untoggle`."""
        if self._toggled is not None:
            self.untoggle()
        inner = getattr(optimizer, "optimizer", optimizer)
        own = {id(p) for group in inner.param_groups for p in group["params"]}
        others = [
            p for o in self.configured.optimizers for g in o.param_groups for p in g["params"] if id(p) not in own
        ]
        self._toggled = [(p, p.requires_grad) for p in others]
        for parameter in others:
            parameter.requires_grad_(False)

    def untoggle(self) -> None:
        """Every parameter requires gradients as before `toggle`."""
        for parameter, required in self._toggled or ():
            parameter.requires_grad_(required)
        self._toggled = None

    def log_norms(self, parameters: Any, p: float) -> None:
        """The p-norm of every gradient and of all together, as step metrics, where they will be written."""
        names = {id(parameter): name for name, parameter in self.module.named_parameters()}
        update = self.run.clock.update
        if not passed(self.run.flags.log_every_n_steps, update, update + 1):
            return
        label = f"{p:g}"
        norms = {names.get(id(q), "?"): q.grad.norm(p) for q in parameters if q.grad is not None}
        for name, norm in norms.items():
            self.module.log(f"grad_{label}_norm_{name}", norm, on_step=True, on_epoch=False)
        self.module.log(f"grad_{label}_norm_total", self.backend.norm(parameters, p), on_step=True, on_epoch=False)
