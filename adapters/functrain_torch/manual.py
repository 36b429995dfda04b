"""Optimization by hand: the same verbs, called by the user's training_step. A part of the torch engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from functrain.kernel.scale import next_scale
from functrain.kernel.state import LossScale
from functrain_torch.backend import gradients, multiply


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


class ManualOptimization:
    """What the engine offers to a module whose `automatic_optimization` is False."""

    trainer: Any
    module: Any
    state: Any
    clock: Any
    configured: Any
    backend: Any
    policy: Any
    batch_idx: int
    wants_outputs: bool
    outputs: list[Any]
    forward: Any
    _toggled: list[tuple[Any, bool]] | None = None
    _stepped: bool = False

    def _one_by_hand(self, batch: Any) -> None:
        """One batch: the training step does everything; an update is counted where any optimizer stepped."""
        self.batch_idx = self.clock.batch
        self._stepped = False
        context = self.backend.context
        if context is None:
            output = self.forward(self.state, batch, 0)
        else:
            with context():
                output = self.forward(self.state, batch, 0)
        self.clock = self.clock._replace(batch=self.clock.batch + 1, update=self.clock.update + self._stepped)
        self.state = self.state._replace(clock=self.clock)
        if self.wants_outputs:
            self.outputs.append(output.detach() if isinstance(output, Tensor) else output)

    def wrapped_optimizers(self) -> list[HandledOptimizer]:
        return [HandledOptimizer(self, index) for index in range(len(self.configured.optimizers))]

    def manual_backward(self, loss: Tensor, optimizer: Any = None, *args: Any, **kwargs: Any) -> None:
        """Backward of the scaled loss. With several optimizers all have the same scale until their first step."""
        index = 0
        inner = getattr(optimizer, "optimizer", optimizer)
        for i, own in enumerate(self.configured.optimizers):
            if own is inner:
                index = i
        scale = self.state.players[index].scale if self.state.players else None
        loss = loss if scale is None else loss * scale.value
        hooks = self.trainer.hooks
        if hooks.on_before_backward is not None:
            hooks.on_before_backward(loss)
        loss.backward(*args, **kwargs)
        if hooks.on_after_backward is not None:
            hooks.on_after_backward()

    def manual_step(self, player: int, closure: Callable[[], Any] | None, kwargs: dict[str, Any]) -> Any:
        me, optimizer = self.state.players[player], self.configured.optimizers[player]
        self._stepped = True
        hooks = self.trainer.hooks
        finite: Any = True
        if me.scale is not None:
            finite = self._unscale(player, me.scale)
        self.state = self.state.with_player(player, self.state.players[player]._replace(updates=me.updates + 1))
        if not finite:
            return None
        if hooks.on_before_optimizer_step is not None:
            hooks.on_before_optimizer_step(optimizer, player)
        return optimizer.step(**kwargs) if closure is None else optimizer.step(closure, **kwargs)

    def _unscale(self, player: int, scale: LossScale) -> bool:
        me = self.state.players[player]
        if gradients(me.acc.grads):
            multiply(me.acc.grads, 1.0 / scale.value)
        finite = bool(self.backend.isfinite(self.backend.norm(me.acc.grads, float("inf"))))
        moved = next_scale(self.backend, self.policy.scale, scale, finite)
        self.state = self.state.with_player(player, me._replace(scale=moved))
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
        every = self.trainer.flags.log_every_n_steps
        if (self.clock.update + 1) % every:
            return
        label = f"{p:g}"
        norms = {names.get(id(q), "?"): q.grad.norm(p) for q in parameters if q.grad is not None}
        for name, norm in norms.items():
            self.module.log(f"grad_{label}_norm_{name}", norm, on_step=True, on_epoch=False)
        self.module.log(f"grad_{label}_norm_total", self.backend.norm(parameters, p), on_step=True, on_epoch=False)
