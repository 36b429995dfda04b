"""What an adapter implements: a few verbs over its own arrays, each with its law. Nothing runs here.

A backend that runs on the host inherits four of them from `functrain.kernel.host.HostBackend` and writes nine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from functrain.kernel.state import Accumulator, Report, Scalar, TrainState, Tree

Batch = TypeVar("Batch", contravariant=True)


class Backend(Protocol[Batch]):
    """The verbs. A backend may update arrays in place, since the state is moved; it may never share a leaf
    between states that are both alive, and `copy` is how a caller keeps an old one."""

    def accumulate(self, state: TrainState, batch: Batch, player: int, closes: Scalar = False) -> TrainState:
        """Forward and backward of one micro-batch for one player.

        Args:
            closes: whether the player's window closes with this micro-batch, as far as it is known: a hint, by which
                gradients may begin to travel between replicas during the backward pass. `reduce` completes what has
                not travelled, since a window may also be closed later, or never.

        Law: adds the gradient of weight * scale * loss to `acc.grads`, weight * loss to `acc.loss`, the
        weight to `acc.weight` and 1 to `acc.count`, and changes no parameter. An accumulator whose count is 0
        starts from zero. What it leaves in `vars` and `hidden` is cut off from the gradient.
        """
        ...

    def reduce(self, acc: Accumulator) -> Accumulator:
        """Sum over replicas, whatever has travelled already. Law: N replicas that saw a window's parts return what one
        that saw it whole returns; the identity where backward has already done it."""
        ...

    def norm(self, grads: Tree, p: float) -> Scalar:
        """Return the p-norm of all gradients taken as one vector. Law: a NaN or inf in it makes the norm NaN or inf."""
        ...

    def apply(
        self, state: TrainState, player: int, grads: Tree, factor: Scalar, limit: float | None, finite: Scalar
    ) -> TrainState:
        """Take the optimizer's step with grads * factor, each component bounded to +-limit.

        Law: where `finite` is false, neither parameters nor optimizer state change.
        """
        ...

    def empty(self, acc: Accumulator) -> Accumulator:
        """Return an accumulator with count, weight and loss 0; may keep the gradients' memory for the next one."""
        ...

    def isfinite(self, x: Scalar) -> Scalar:
        """Law: no host synchronisation on a device for which one is costly; a Python bool on the host."""
        ...

    def select(self, condition: Scalar, a: Scalar, b: Scalar) -> Scalar:
        """a where the condition holds, else b. Law: no synchronisation where the condition is on a device."""
        ...

    def maximum(self, a: Scalar, b: Scalar) -> Scalar:
        """Return the larger of two scalars. Law: NaN in either makes it NaN."""
        ...

    def when(
        self, flag: Scalar, f: Callable[[TrainState], tuple[TrainState, Report | None]], state: TrainState
    ) -> tuple[TrainState, Report | None]:
        """f(state) where the flag holds, else the state as it is and an empty report (None on the host). The kernel
        asks it only where the flag is not a Python bool."""
        ...

    def with_last(self, window: Any) -> Any:
        """The window's micro-batches, each beside a flag: is it the last? Items for `fold`."""
        ...

    def fold(self, f: Callable[[Any, Any], tuple[Any, Any]], carry: Any, items: Any) -> tuple[Any, Any]:
        """Apply f to the items, one after another; return the last carry and what f returned beside it at the last
        item. Law: memory does not grow with the number of items."""
        ...

    def scan(self, f: Callable[[Any, Any], tuple[Any, Any]], carry: Any, items: Any) -> tuple[Any, Any]:
        """Apply f as `fold` does, and collect what f returns beside the carry for every item."""
        ...

    def copy(self, state: TrainState) -> TrainState:
        """Return a state that shares no memory with the old one. Law: moving the copy leaves the old one."""
        ...
