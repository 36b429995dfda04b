"""The values that a training run is made of: frozen data, with no behaviour beyond reading.

`Scalar` is a Python number or a zero-dimensional array of the backend; `Tree` is whatever the backend keeps
its arrays in. Named tuples, because every framework walks them as trees as they are, so any field may be an
array or traced.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

Scalar: TypeAlias = Any
Tree: TypeAlias = Any


class Clock(NamedTuple):
    """Where a run stands: four integers.

    Attributes:
        epoch: epochs finished.
        batch: batches finished in this epoch.
        update: windows closed since the start, which is `global_step`; one a window, however many
            players moved in it.
        skipped: those of the players' updates that learned nothing, because a gradient was not finite, every
            micro-batch was skipped, or all of them together weigh 0.
    """

    epoch: Scalar = 0
    batch: Scalar = 0
    update: Scalar = 0
    skipped: Scalar = 0

    def next_epoch(self) -> Clock:
        """Return the start of the next epoch."""
        return self._replace(epoch=self.epoch + 1, batch=0)


class Accumulator(NamedTuple):
    """What an open window has added up so far.

    Attributes:
        grads: the SUM of the gradients of weight * scale * loss; None where the framework keeps it (`.grad`).
        loss: the SUM of weight * loss, unscaled.
        weight: the SUM of the weights.
        count: micro-batches in it; 0 says that the window is empty, whatever `grads` still holds.
    """

    grads: Tree = None
    loss: Scalar = 0.0
    weight: Scalar = 0.0
    count: Scalar = 0


class LossScale(NamedTuple):
    """A loss scale as a value.

    Attributes:
        value: the factor on the loss.
        good: the finite updates in a row since it changed.
    """

    value: Scalar
    good: Scalar = 0


class Player(NamedTuple):
    """One optimizer's share of the state.

    Attributes:
        opt: the optimizer's state.
        acc: its open window.
        scale: its loss scale; None for none.
        updates: the windows that it has closed.
    """

    opt: Tree
    acc: Accumulator = Accumulator()
    scale: LossScale | None = None
    updates: Scalar = 0


class TrainState(NamedTuple):
    """All that a step reads and writes. Moved, not shared: after `step(state, ...)` the old one is dead.

    Attributes:
        params: what the optimizers move.
        players: one `Player` an optimizer, in the order in which they play.
        vars: what the forward pass changes by itself, such as running statistics.
        hidden: what a truncated sequence hands from one piece to the next; None at a sequence's
            start and between batches.
        rng: the random key or generator state of the forward pass; None where the global generator is used.
        metrics: the running values of the epoch, by name.
        clock: the position.
    """

    params: Tree
    players: tuple[Player, ...]
    vars: Tree = None
    hidden: Tree = None
    rng: Any = None
    metrics: Any = None
    clock: Clock = Clock()

    @property
    def moved(self) -> bool:
        """Has any update changed something, or is a window open that will? Reads from the device."""
        updates = sum(int(player.updates) for player in self.players)
        return updates > int(self.clock.skipped) or any(int(player.acc.count) for player in self.players)

    def with_player(self, index: int, player: Player) -> TrainState:
        """This state with one player's share replaced."""
        return self._replace(players=(*self.players[:index], player, *self.players[index + 1 :]))


class Report(NamedTuple):
    """What one update has to tell.

    Attributes:
        loss_sum: the sum of weight * loss over the window.
        weight: the sum of the weights.
        norm: the norm of the mean gradient before clipping; None where no rule asked for it.
        finite: False where the update was skipped.
    """

    loss_sum: Scalar
    weight: Scalar
    norm: Scalar | None = None
    finite: Scalar = True

    @property
    def loss(self) -> Scalar:
        """The weighted mean loss of the window; NaN where it weighs nothing."""
        if isinstance(self.weight, float | int) and not self.weight:
            return float("nan")
        return self.loss_sum / self.weight
