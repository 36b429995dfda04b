"""The loss of a window evaluated again: for LBFGS and its like, and for a module's own `optimizer_step`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

import torch

from functrain.kernel.scale import gradient_factor
from functrain.kernel.state import Accumulator, TrainState
from functrain.kernel.step import Rules
from functrain_torch.backend import TorchBackend, bound, multiply

Again: TypeAlias = Callable[[TrainState, Any, int], TrainState]
"""Accumulates one micro-batch, which is not kept."""


class Reevaluation:
    """Keeps the micro-batches of open windows, and takes steps with a closure that runs them again.

    Args:
        own_step: the module's own `optimizer_step`; None for the strategy's.
        mixed: the precision is a mixed one, which `own_step` is told.
        silent: makes a context in which nothing is logged.

    Attributes:
        windows: the micro-batches of each player's open window, each with its number in the epoch.
        hidden: what each player's open window began with, of a sequence that is cut along time.
    """

    def __init__(
        self,
        rules: Rules,
        own_step: Callable[..., Any] | None,
        mixed: bool,
        silent: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.rules = rules
        self.own_step = own_step
        self.mixed = mixed
        self.silent = silent
        self.windows: dict[int, list[tuple[Any, int]]] = {}
        self.hidden: dict[int, Any] = {}

    def keep(self, state: TrainState, batch: Any, player: int) -> None:
        """A micro-batch is about to be accumulated."""
        opens = not state.players[player].acc.count
        before = [] if opens else self.windows.get(player, [])
        if opens:
            self.hidden[player] = state.hidden
        self.windows[player] = [*before, (batch, state.clock.batch)]

    def step(self, backend: TorchBackend, again: Again, state: TrainState, player: int) -> None:
        """The optimizer's step at the end of a window, whose micro-batches are run by `again`."""
        optimizer = state.players[player].opt
        closure = self._closure(backend, again, state, player)
        if self.own_step is None:
            backend.step(optimizer, closure)
            return
        is_lbfgs = isinstance(optimizer, torch.optim.LBFGS)
        self.own_step(state.clock.epoch, state.clock.batch, optimizer, player, closure, False, self.mixed, is_lbfgs)

    def _closure(self, backend: TorchBackend, again: Again, state: TrainState, player: int) -> Callable[[], Any]:
        """Returns the loss of the window. The first call finds the gradients that `accumulate` left.

        A further one runs the window again, and leaves mean gradients, bounded, as the first call found them; it logs
        nothing, since the window is one observation.
        """
        window, acc, called = self.windows[player], state.players[player].acc, False

        def closure() -> Any:
            nonlocal acc, called
            if called:
                acc = self._run_again(backend, again, state, player, window)
            called = True
            return acc.loss / acc.weight

        return closure

    def _run_again(
        self, backend: TorchBackend, again: Again, state: TrainState, player: int, window: list[tuple[Any, int]]
    ) -> Accumulator:
        me = state.players[player]
        state = state.with_player(player, me._replace(acc=Accumulator(me.acc.grads)))
        state = state._replace(hidden=self.hidden.get(player))
        with torch.enable_grad(), self.silent():
            for batch, number in window:
                state = state._replace(clock=state.clock._replace(batch=number))
                state = again(state, batch, player)
        me, clip = state.players[player], self.rules[player].clip
        factor, _, _ = gradient_factor(backend, clip, me.acc, me.scale)
        if factor != 1.0:
            multiply(me.acc.grads, factor)
        if clip.value is not None:
            bound(me.acc.grads, clip.value)
        backend.clip(me.acc.grads, player, me.opt)
        return me.acc
