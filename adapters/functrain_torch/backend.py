"""The kernel's verbs over torch: eager and in place.

Gradients live in `.grad`; the accumulator holds the parameters.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.optim import Optimizer

from functrain.kernel.host import HostBackend
from functrain.kernel.state import Accumulator, Scalar, TrainState
from functrain.trainer.spans import Span, unmeasured
from functrain.trainer.step_outputs import UNIT, parts_of
from functrain_torch.strategy import OneDevice, Strategy
from functrain_torch.tree import tree_map

Forward: TypeAlias = Callable[[TrainState, Any, int], Any]
MakesContext: TypeAlias = Callable[[], AbstractContextManager[Any]]


class TorchBackend(HostBackend):
    """The verbs of `functrain.kernel.Backend`.

    Args:
        forward: `forward(state, batch, player)` returns a scalar loss, a dict with 'loss' and optional 'weight' (the
            loss is a mean over so many samples), 'vars' and 'hiddens', or None for nothing to learn from this batch.
        context: makes the context that the forward pass runs in; None for none.
        strategy: where arrays live; its verbs `reduce`, `norm` and `step` are the backend's own. Nothing travels.
        span: returns what is called in place of the parts of a step; see `Run.span`.

    Attributes:
        differentiate: `backward`, as it is measured.
        optimize: `take_step`, as it is measured.
        output: what the forward pass returned last.
    """

    def __init__(
        self,
        forward: Forward,
        context: MakesContext | None = None,
        strategy: Strategy | None = None,
        span: Span = unmeasured,
    ) -> None:
        strategy = OneDevice() if strategy is None else strategy
        self.forward = span("training_step", forward)
        self.context = context
        self.reduce, self.norm, self.step = strategy.reduce, strategy.norm, strategy.step
        self.differentiate = span("backward", self.backward)
        self.optimize = span("optimizer_step", self.take_step)
        self.output: Any = None

    # the step

    def accumulate(self, state: TrainState, batch: Any, player: int, closes: Scalar = False) -> TrainState:
        if self.context is None:
            output = self.forward(state, batch, player)
        else:
            with self.context():
                output = self.forward(state, batch, player)
        self.output = output
        if output is None:
            return state
        weight: Scalar = UNIT
        if isinstance(output, dict):
            state, output, weight = _unpack(state, output)
        me = state.players[player]
        acc = me.acc
        loss = _scalar_loss(output)
        if loss.dtype in HALF:
            # A scale of 2**16 would be too much for it, and so would a sum.
            loss = loss.float()
        if not acc.count:
            self.zero_grad(state, player)
        objective = loss
        if weight is not UNIT:
            objective = objective * weight
        if me.scale is not None:
            objective = objective * me.scale.value
        self.differentiate(objective, me.opt, player)
        value = loss.detach()
        if weight is not UNIT:
            value = value * weight
        if acc.count:
            acc = Accumulator(acc.grads, acc.loss + value, acc.weight + weight, acc.count + 1)
        else:
            acc = Accumulator(acc.grads, value, weight, 1)
        return state.with_player(player, me._replace(acc=acc))

    def zero_grad(self, state: TrainState, player: int) -> None:
        for parameter in state.players[player].acc.grads:
            parameter.grad = None

    def backward(self, loss: Tensor, optimizer: Optimizer, player: int) -> None:
        """Backward of the loss, as it is scaled."""
        loss.backward()

    def take_step(self, state: TrainState, player: int) -> None:
        """Take the step of a player's optimizer."""
        self.step(state.players[player].opt, None)

    def clip(self, grads: Any, player: int, optimizer: Optimizer) -> None:
        """Bound mean gradients in a way that is not the rule's; nothing here."""

    def apply(
        self, state: TrainState, player: int, grads: Any, factor: Scalar, limit: float | None, finite: Scalar
    ) -> TrainState:
        if finite is False:
            return state
        if factor is not UNIT and (isinstance(factor, Tensor) or factor != 1.0):
            multiply(grads, factor)
        if limit is not None:
            bound(grads, limit)
        if isinstance(finite, Tensor):
            self._step_if(state, player, finite)
        else:
            self.optimize(state, player)
        return state

    def _step_if(self, state: TrainState, player: int, finite: Tensor) -> None:
        """Step where `finite` holds on the device: inside the optimizer where it can look by itself, else by asking."""
        optimizer = state.players[player].opt
        looks = getattr(optimizer, "_step_supports_amp_scaling", False)
        if looks:
            optimizer.grad_scale, optimizer.found_inf = None, (~finite).float()
        elif not finite.item():
            return
        self.optimize(state, player)
        if looks:
            del optimizer.grad_scale, optimizer.found_inf

    def empty(self, acc: Accumulator) -> Accumulator:
        return Accumulator(acc.grads)

    # scalars

    def isfinite(self, x: Scalar) -> Scalar:
        finite = torch.isfinite(torch.as_tensor(x))
        # On the CPU a branch is free; elsewhere the answer stays on the device.
        return bool(finite) if finite.device.type == "cpu" else finite

    def select(self, condition: Scalar, a: Scalar, b: Scalar) -> Scalar:
        if isinstance(condition, Tensor):
            return torch.where(condition, a, b)
        return a if condition else b

    def maximum(self, a: Scalar, b: Scalar) -> Scalar:
        if isinstance(a, Tensor):
            return torch.maximum(a, b) if isinstance(b, Tensor) else torch.clamp(a, min=b)
        if isinstance(b, Tensor):
            return torch.clamp(b, min=a)
        return a if a != a or a > b else b

    def copy(self, state: TrainState) -> TrainState:
        """Return a deep copy in which parameters, optimizers and gradients belong together as in the old one."""
        new = copy.deepcopy(state)
        for old_player, new_player in zip(state.players, new.players, strict=True):
            for old, fresh in zip(old_player.acc.grads, new_player.acc.grads, strict=True):
                fresh.grad = None if old.grad is None else old.grad.clone()
        return new


HALF = (torch.float16, torch.bfloat16)


def gradients(parameters: Iterable[Tensor]) -> list[Tensor]:
    """Return the gradients that there are."""
    return [p.grad for p in parameters if p.grad is not None]


def multiply(parameters: Iterable[Tensor], factor: Scalar) -> None:
    """Multiply all gradients with one scalar, in place and at once."""
    if grads := gradients(parameters):
        torch._foreach_mul_(grads, factor)  # pyright: ignore[reportPrivateImportUsage]


def bound(parameters: Iterable[Tensor], limit: float) -> None:
    """Bound every component of all gradients to +-limit, in place."""
    grads = gradients(parameters)
    torch._foreach_clamp_min_(grads, -limit)  # pyright: ignore[reportPrivateImportUsage]
    torch._foreach_clamp_max_(grads, limit)  # pyright: ignore[reportPrivateImportUsage]


def _unpack(state: TrainState, output: dict[str, Any]) -> tuple[TrainState, Any, Scalar]:
    """Return what a step returned as a dict: the state with what it carries on, the loss, its weight."""
    loss, weight, hidden, vars_ = parts_of(output, "the training step")
    if hidden is not None:
        state = state._replace(hidden=tree_map(Tensor.detach, hidden))
    if "vars" in output:
        state = state._replace(vars=vars_)
    if isinstance(weight, Tensor):
        if weight.numel() != 1:
            raise ValueError(f"the training step's 'weight' has shape {tuple(weight.shape)}; give a number of samples.")
        return state, loss, weight.detach()
    try:
        return state, loss, float(weight)
    except (TypeError, ValueError):
        raise TypeError(f"the training step's 'weight' is {weight!r}; give a number, such as of samples.") from None


def _scalar_loss(loss: Any) -> Tensor:
    if not isinstance(loss, Tensor):
        raise TypeError(
            f"the training step returned a {type(loss).__name__}; return a scalar tensor, a dict with 'loss', "
            "or None to skip the batch."
        )
    if loss.ndim and loss.numel() != 1:
        raise ValueError(f"the loss has shape {tuple(loss.shape)}; give a scalar, such as loss.mean().")
    if not loss.requires_grad:
        raise ValueError(
            "the loss does not depend on any parameter that requires a gradient. Was it detached, computed under "
            "torch.no_grad(), or is every parameter frozen?"
        )
    return loss
