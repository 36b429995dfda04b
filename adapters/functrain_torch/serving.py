"""What a module asks of the engine that runs it: its optimizers, and what it steps them with by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torch import Tensor

from functrain_torch.optimizers import Configured
from functrain_torch.toggle import Toggle


class ByHand(Protocol):
    """What steps optimizers by hand; see `functrain_torch.manual.Manual`."""

    @property
    def backward(self) -> Callable[..., None]:
        """Runs backward of the scaled loss."""
        ...

    clipped: bool
    """Gradients were clipped in this fit."""

    @property
    def toggle(self) -> Toggle:
        """Freezes the parameters of all optimizers but one."""
        ...

    def handled(self) -> Sequence[Any]:
        """Return the optimizers as `self.optimizers()` returns them."""
        ...

    def unscale_of(self, optimizer: Any, /) -> None:
        """Unscale the gradients of an optimizer."""
        ...


class Modes(Protocol):
    """The modes of a module; see `functrain_torch.modes.Modes`."""

    def restore(self) -> None:
        """Every part trains or evaluates as before the evaluation under way."""
        ...


class Serving(Protocol):
    """What a module asks of the engine that runs it; see `functrain_torch.engine.TorchEngine`.

    Attributes:
        trains: there are optimizers, and `manual`.
        automatic: the optimizers are stepped for the module.
    """

    trains: bool
    automatic: bool

    @property
    def configured(self) -> Configured:
        """The optimizers and schedulers of the module; none in a run that does not train."""
        ...

    @property
    def manual(self) -> ByHand:
        """What steps them by hand."""
        ...

    @property
    def modes(self) -> Modes:
        """The modes of the module."""
        ...


def without_optimizer(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments of `Tensor.backward` among these: an optimizer (or None) and its index may stand before
    them."""
    if not args or isinstance(args[0], Tensor):
        return args
    if args[0] is None and isinstance(args[-1], bool):
        return args
    rest = args[1:]
    return rest[1:] if rest and type(rest[0]) is int else rest
