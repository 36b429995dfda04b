"""The torch backend of a Trainer's run: the verbs, with the hooks of the step inside those that are overridden."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from functrain.kernel.scale import Clip, gradient_factor
from functrain.kernel.state import Accumulator, Scalar, TrainState
from functrain_torch.backend import TorchBackend, bound, multiply

GRADIENT_HOOKS = ("on_before_optimizer_step", "configure_gradient_clipping")


def hooks_of_the_step(hooks: Any) -> bool:
    """Does anybody look at the gradients between their mean and their clipping?"""
    return any(getattr(hooks, name) is not None for name in GRADIENT_HOOKS)


class HookedBackend(TorchBackend):
    """Verbs that call what is overridden; resolved here, once.

    Args:
        engine: whose module and trainer the hooks belong to.
        clip: the bound on gradients, used here only where `looks` holds, after the hooks have looked.
        looks: a hook looks at the gradients; the factor is applied in two parts.
        closures: an optimizer evaluates the loss by itself, so windows are kept to run them again.
        several: there are several optimizers; each one's step leaves the others' gradients alone.
    """

    def __init__(self, engine: Any, clip: Clip, looks: bool, closures: bool, several: bool) -> None:
        super().__init__(engine.forward, engine.context)
        hooks = engine.run.hooks
        self.engine, self.clip, self.looks, self.several = engine, clip, looks, several
        self.before_zero_grad = hooks.on_before_zero_grad
        self.own_zero_grad = hooks.optimizer_zero_grad
        self.before_backward = hooks.on_before_backward
        self.own_backward = hooks.backward
        self.after_backward = hooks.on_after_backward
        self.before_step = hooks.on_before_optimizer_step
        self.own_clipping = hooks.configure_gradient_clipping
        self.own_step = hooks.optimizer_step
        self.keeps_window = closures or self.own_step is not None
        self.windows: dict[int, list[tuple[Any, int]]] = {}
        self.closing = TrainState(None, ())
        self.norm_p = engine.run.flags.track_grad_norm

    def accumulate(self, state: TrainState, batch: Any, player: int, closes: Scalar = False) -> TrainState:
        if self.keeps_window:
            before = self.windows.get(player, []) if state.players[player].acc.count else []
            self.windows[player] = [*before, (batch, self.engine.batch_idx)]
        if not self.several:
            return super().accumulate(state, batch, player, closes)
        self.engine.toggle(state.players[player].opt)
        try:
            return super().accumulate(state, batch, player, closes)
        finally:
            self.engine.untoggle()

    def zero_grad(self, state: TrainState, player: int) -> None:
        optimizer = state.players[player].opt
        if self.before_zero_grad is not None:
            self.before_zero_grad(optimizer)
        if self.own_zero_grad is not None:
            self.own_zero_grad(self.engine.run.clock.epoch, self.engine.batch_idx, optimizer, player)
            return
        for parameter in state.players[player].acc.grads:
            parameter.grad = None

    def backward(self, loss: Tensor, player: int) -> None:
        if self.before_backward is not None:
            self.before_backward(loss)
        if self.own_backward is not None:
            self.own_backward(loss, self.engine.configured.optimizers[player], player)
        else:
            loss.backward()
        if self.after_backward is not None:
            self.after_backward()

    def apply(
        self, state: TrainState, player: int, grads: Any, factor: Scalar, limit: float | None, finite: Scalar
    ) -> TrainState:
        self.closing = state
        if finite is False or not self.looks:
            return super().apply(state, player, grads, factor, limit, finite)
        if factor != 1.0:
            multiply(grads, factor)
        optimizer = state.players[player].opt
        if self.norm_p not in (-1, "-1"):
            self.engine.log_norms(grads, float(self.norm_p))
        if self.before_step is not None:
            self.before_step(optimizer, player)
        self._clip(grads, player)
        return super().apply(state, player, grads, 1.0, None, finite)

    def _clip(self, grads: Any, player: int) -> None:
        """Bound the mean gradients, as the module or else the flags say."""
        if self.own_clipping is not None:
            flags = self.engine.run.flags
            optimizer = self.engine.configured.optimizers[player]
            self.own_clipping(optimizer, player, flags.gradient_clip_val, flags.gradient_clip_algorithm)
            return
        factor, _, _ = gradient_factor(self, self.clip, Accumulator(grads, weight=1.0), None)
        if isinstance(factor, Tensor):
            multiply(grads, factor)
        if self.clip.value is not None:
            bound(grads, self.clip.value)

    def optimizer_step(self, optimizer: Any, player: int) -> None:
        if not self.keeps_window:
            optimizer.step()
            return
        closure = self._closure(player)
        if self.own_step is None:
            optimizer.step(closure)
            return
        engine = self.engine
        mixed = engine.policy.autocast is not None
        lbfgs = isinstance(optimizer, torch.optim.LBFGS)
        self.own_step(engine.run.clock.epoch, engine.batch_idx, optimizer, player, closure, False, mixed, lbfgs)

    def _closure(self, player: int) -> Callable[[], Any]:
        """Gives the loss of the window. The first call finds the gradients that `accumulate` left.

        A further one runs the window again, and leaves mean gradients, bounded, as the first call found them; it logs
        nothing, since the window is one observation.
        """
        window, start = self.windows[player], self.closing
        me = start.players[player]
        acc, called = me.acc, False

        def closure() -> Any:
            nonlocal acc, called
            if called:
                acc = self._run_again(
                    start.with_player(player, me._replace(acc=Accumulator(acc.grads))), player, window
                )
            called = True
            return acc.loss / acc.weight

        return closure

    def _run_again(self, state: TrainState, player: int, window: list[tuple[Any, int]]) -> Accumulator:
        engine = self.engine
        with torch.enable_grad(), engine.silent():
            for batch, engine.batch_idx in window:
                state = self.accumulate(state, batch, player)
        me = state.players[player]
        factor, _, _ = gradient_factor(self, Clip() if self.looks else self.clip, me.acc, me.scale)
        if factor != 1.0:
            multiply(me.acc.grads, factor)
        if self.looks:
            self._clip(me.acc.grads, player)
        elif self.clip.value is not None:
            bound(me.acc.grads, self.clip.value)
        return me.acc
