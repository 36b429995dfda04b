"""The torch backend with something around its verbs: gradients that travel between devices, the other players'
parameters frozen, a loss that the optimizer may evaluate again."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, NamedTuple

from functrain.kernel.state import Scalar, TrainState
from functrain.trainer.spans import Span, unmeasured
from functrain_torch.backend import Forward, MakesContext, TorchBackend
from functrain_torch.closure import Reevaluation
from functrain_torch.strategy import Strategy
from functrain_torch.toggle import Toggle


class StepExtras(NamedTuple):
    """What stands around the verbs, beside a strategy.

    Attributes:
        toggle: freezes the parameters of the players that do not play; None for one player.
        reevaluation: keeps windows, and steps with a closure; None where nobody asks for one.
    """

    toggle: Toggle | None = None
    reevaluation: Reevaluation | None = None


NO_EXTRAS = StepExtras()


class SurroundedBackend(TorchBackend):
    """Verbs for steps that the plain backend does not know."""

    def __init__(
        self,
        forward: Forward,
        context: MakesContext | None,
        strategy: Strategy,
        span: Span = unmeasured,
        around: StepExtras = NO_EXTRAS,
    ) -> None:
        super().__init__(forward, context, strategy, span)
        self.travel = strategy.travel if strategy.travels else None
        self.toggle, self.reevaluation = around

    def accumulate(self, state: TrainState, batch: Any, player: int, closes: Scalar = False) -> TrainState:
        if self.reevaluation is not None:
            self.reevaluation.keep(state, batch, player)
        return self.accumulate_again(state, batch, player, closes)

    def accumulate_again(self, state: TrainState, batch: Any, player: int, closes: Scalar = False) -> TrainState:
        """Accumulate a micro-batch that is not kept, leaving the gradients of the other players' parameters alone."""
        if self.toggle is None:
            return self._accumulate_travelling(state, batch, player, closes)
        self.toggle.only(state.players[player].opt)
        try:
            return self._accumulate_travelling(state, batch, player, closes)
        finally:
            self.toggle.undo()

    def _accumulate_travelling(self, state: TrainState, batch: Any, player: int, closes: Scalar) -> TrainState:
        travelling = self.travel(bool(closes)) if self.travel is not None else None
        with travelling or nullcontext():
            return super().accumulate(state, batch, player, closes)

    def take_step(self, state: TrainState, player: int) -> None:
        if self.reevaluation is None:
            super().take_step(state, player)
        else:
            self.reevaluation.step(self, self.accumulate_again, state, player)
