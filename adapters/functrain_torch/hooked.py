"""The torch backend with the hooks of the step inside its verbs, for runs in which somebody overrides one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from functrain.kernel.plan import passed
from functrain.kernel.scale import Clip, gradient_factor
from functrain.kernel.state import Accumulator, Scalar, TrainState
from functrain.trainer.flags import Flags
from functrain.trainer.hooks import Hooks
from functrain.trainer.planning import clip as clip_of
from functrain.trainer.spans import Span, unmeasured
from functrain_torch.backend import Forward, MakesContext, TorchBackend, bound, multiply
from functrain_torch.module import LightningModule
from functrain_torch.strategy import Strategy
from functrain_torch.surrounded import NO_EXTRAS, StepExtras, SurroundedBackend

IN_THE_VERBS = ("on_before_zero_grad", "optimizer_zero_grad", "on_before_backward", "backward", "on_after_backward")
AT_THE_GRADIENTS = ("on_before_optimizer_step", "configure_gradient_clipping")
NO_NORM = (-1, "-1")


def is_hooked(hooks: Hooks, flags: Flags) -> bool:
    """Return whether anybody overrides a hook of the step, or looks at the gradients."""
    return looks(hooks, flags) or any(getattr(hooks, name) is not None for name in IN_THE_VERBS)


def looks(hooks: Hooks, flags: Flags) -> bool:
    """Return whether anybody looks at the gradients between their mean and their clipping."""
    hooked = any(getattr(hooks, name) is not None for name in AT_THE_GRADIENTS)
    return hooked or flags.track_grad_norm not in NO_NORM


class HookedBackend(SurroundedBackend):
    """Verbs that call what is overridden; resolved here, once.

    Where a hook looks at the gradients it sees unscaled means before clipping: then the clipping is done here, after
    it, and the kernel's rule has none.
    """

    def __init__(
        self,
        module: LightningModule,
        forward: Forward,
        context: MakesContext | None,
        strategy: Strategy,
        hooks: Hooks,
        flags: Flags,
        span: Span = unmeasured,
        around: StepExtras = NO_EXTRAS,
    ) -> None:
        super().__init__(forward, context, strategy, span, around)
        self.flags = flags
        self.looks = looks(hooks, flags)
        self.before_zero_grad = hooks.on_before_zero_grad
        self.own_zero_grad = hooks.optimizer_zero_grad
        self.before_backward = hooks.on_before_backward
        self.own_backward = hooks.backward
        self.after_backward = hooks.on_after_backward
        self.before_step = hooks.on_before_optimizer_step
        self.own_clipping = hooks.configure_gradient_clipping
        self.norms = None if flags.track_grad_norm in NO_NORM else GradientNorms(module, self, flags)

    def zero_grad(self, state: TrainState, player: int) -> None:
        optimizer = state.players[player].opt
        if self.before_zero_grad is not None:
            self.before_zero_grad(optimizer)
        if self.own_zero_grad is None:
            super().zero_grad(state, player)
        else:
            self.own_zero_grad(state.clock.epoch, state.clock.batch, optimizer, player)

    def backward(self, loss: Tensor, optimizer: Optimizer, player: int) -> None:
        if self.before_backward is not None:
            self.before_backward(loss)
        if self.own_backward is not None:
            self.own_backward(loss, optimizer, player)
        else:
            loss.backward()
        if self.after_backward is not None:
            self.after_backward()

    def apply(
        self, state: TrainState, player: int, grads: Any, factor: Scalar, limit: float | None, finite: Scalar
    ) -> TrainState:
        if finite is False or not self.looks:
            return super().apply(state, player, grads, factor, limit, finite)
        if factor != 1.0:
            multiply(grads, factor)
        optimizer = state.players[player].opt
        if self.norms is not None:
            self.norms.log(grads, state.clock.update)
        if self.before_step is not None:
            self.before_step(optimizer, player)
        self.clip(grads, player, optimizer)
        return super().apply(state, player, grads, 1.0, None, finite)

    def clip(self, grads: Any, player: int, optimizer: Optimizer) -> None:
        """Bound mean gradients as the module says, or else the flags; nothing where the kernel's rule has done it."""
        if not self.looks:
            return
        if self.own_clipping is not None:
            flags = self.flags
            self.own_clipping(optimizer, player, flags.gradient_clip_val, flags.gradient_clip_algorithm)
            return
        clip: Clip = clip_of(self.flags)
        factor, _, _ = gradient_factor(self, clip, Accumulator(grads, weight=1.0), None)
        if isinstance(factor, Tensor):
            multiply(grads, factor)
        if clip.value is not None:
            bound(grads, clip.value)


class GradientNorms:
    """Logs the norms of gradients, where step metrics will be written.

    Args:
        module: names the parameters, and logs.
        backend: takes the norm of all gradients together.
    """

    def __init__(self, module: LightningModule, backend: TorchBackend, flags: Flags) -> None:
        self.module = module
        self.backend = backend
        self.p = float(flags.track_grad_norm)
        self.every = flags.log_every_n_steps

    def log(self, parameters: Iterable[Tensor], update: int) -> None:
        """The norm of every gradient and of all together, as step metrics of update number `update` + 1."""
        if not passed(self.every, update, update + 1):
            return
        names = {id(parameter): name for name, parameter in self.module.named_parameters()}
        norms = {names.get(id(q), "?"): q.grad.norm(self.p) for q in parameters if q.grad is not None}
        for name, norm in norms.items():
            self.module.log(f"grad_{self.p:g}_norm_{name}", norm, on_step=True, on_epoch=False)
        total = self.backend.norm(parameters, self.p)
        self.module.log(f"grad_{self.p:g}_norm_total", total, on_step=True, on_epoch=False)
