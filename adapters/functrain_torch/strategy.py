"""Where a module's arrays live and how gradients come together: a Strategy. One device is an instance of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from functrain.kernel.state import Accumulator


class Strategy(Protocol):
    """What a backend asks of the devices that train one module together.

    Its verbs become attributes of the backend when that is made, so that one device adds no call to a step.

    Attributes:
        device: where batches go.
        travels: gradients may travel between devices during the backward pass; where not, `travel` is never called.
    """

    device: torch.device
    travels: bool

    def prepare(self, module: nn.Module) -> nn.Module:
        """Put the module where it is trained, before its optimizers are made. Returns what holds its parameters."""
        ...

    def travel(self, closes: bool) -> AbstractContextManager[object] | None:
        """Return the context of one micro-batch's forward and backward pass; None where there is nothing to do.

        Args:
            closes: the window closes with this micro-batch, as far as it is known. A hint: `reduce` completes what has
                not travelled.
        """
        ...

    def reduce(self, acc: Accumulator) -> Accumulator:
        """Return the sums over all devices, whatever has travelled already."""
        ...

    def norm(self, grads: Iterable[Tensor], p: float) -> Tensor:
        """Return the p-norm of all gradients of these parameters taken as one vector."""
        ...

    def step(self, optimizer: torch.optim.Optimizer, closure: Callable[[], Any] | None) -> Any:
        """Take the optimizer's step, with what evaluates the loss again where the optimizer asks for that."""
        ...

    def state_dict(self, module: nn.Module) -> dict[str, Any]:
        """Return the weights by name, as a checkpoint holds them."""
        ...

    def load_state_dict(self, module: nn.Module, saved: Mapping[str, Any], strict: bool) -> None:
        """Take weights back, in place."""
        ...


class OneDevice:
    """All of the module on one device: nothing travels."""

    travels = False

    def __init__(self, device: torch.device | None = None) -> None:
        self.device = torch.device("cpu") if device is None else device

    def prepare(self, module: nn.Module) -> nn.Module:
        """Move it to the device."""
        place = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
        return module if place == self.device else module.to(self.device)

    def travel(self, closes: bool) -> None:
        """Nothing to do."""

    def reduce(self, acc: Accumulator) -> Accumulator:
        """The sums are whole."""
        return acc

    def norm(self, grads: Iterable[Tensor], p: float) -> Tensor:
        """Of the gradients that there are."""
        return get_total_norm([g.grad for g in grads if g.grad is not None], p)

    def step(self, optimizer: torch.optim.Optimizer, closure: Callable[[], Any] | None) -> Any:
        """The optimizer's own."""
        return optimizer.step() if closure is None else optimizer.step(closure)

    def state_dict(self, module: nn.Module) -> dict[str, Any]:
        """The module's own."""
        return module.state_dict()

    def load_state_dict(self, module: nn.Module, saved: Mapping[str, Any], strict: bool) -> None:
        """The module's own."""
        module.load_state_dict(saved, strict=strict)
