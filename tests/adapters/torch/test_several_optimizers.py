"""Several optimizers in automatic optimization, with windows, bounds, turns, schedules and steps at intervals: as a
loop written by hand."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import ExponentialLR, StepLR

import functrain_torch as pl
from tests.adapters.torch.small import same, trainer

EPOCHS = 2


def batches() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(4, 3, generator=generator) for _ in range(6)]


class Game(pl.LightningModule):
    """One wants the score low, the other wants it high."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.one, self.other = torch.nn.Linear(3, 3), torch.nn.Linear(3, 1)
        self.required: list[list[bool]] = []

    def score(self, x: Tensor, player: int) -> Tensor:
        score = self.other(torch.tanh(self.one(x))).pow(2).mean()
        return score if player == 0 else self.other.weight.pow(2).sum() - score

    def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int) -> Any:
        self.required.append([p.requires_grad for p in self.parameters()])
        return self.score(batch, optimizer_idx)

    def configure_optimizers(self) -> Any:
        return SGD(self.one.parameters(), 0.1, momentum=0.5), Adam(self.other.parameters(), 0.01)


Plays = Callable[[int, int], bool]
"""Does this player play at this batch?"""


def by_hand(
    plays: Plays = lambda player, batch: True, window: int = 1, bound: float | None = None, autocast: Any = None,
    schedules: Callable[[Any, Any], list[tuple[int, Any, str]]] = lambda one, other: [],
) -> Game:  # fmt: skip
    """What a fit is to leave."""
    model = Game()
    optimizers = model.configure_optimizers()
    configured = schedules(*optimizers)
    for _ in range(EPOCHS):
        data = batches()
        for first in range(0, len(data), window):
            group = data[first : first + window]
            sums: dict[int, Any] = {}
            for k, batch in enumerate(group):
                for player, optimizer in enumerate(optimizers):
                    if not plays(player, first + k):
                        continue
                    parameters = optimizer.param_groups[0]["params"]
                    with nullcontext() if autocast is None else torch.autocast("cpu", autocast):
                        loss = model.score(batch, player)
                    found = torch.autograd.grad(loss, parameters)
                    so_far = sums.get(player)
                    sums[player] = found if so_far is None else [a + b for a, b in zip(so_far, found, strict=True)]
                    if k + 1 < len(group):
                        continue
                    for parameter, total in zip(parameters, sums[player], strict=True):
                        parameter.grad = total * (1 / len(group))
                    if bound is not None:
                        torch.nn.utils.clip_grad_norm_(parameters, bound)
                    optimizer.step()
                    for owner, scheduler, interval in configured:
                        if owner == player and interval == "step":
                            scheduler.step()
        for _, scheduler, interval in configured:
            if interval == "epoch":
                scheduler.step()
    return model


def fitted(kind: type[Game] = Game, **flags: Any) -> Game:
    model = kind()
    trainer(max_epochs=EPOCHS, **flags).fit(model, batches())
    assert all(p.requires_grad for p in model.parameters())
    return model


@pytest.mark.parametrize(("flags", "loop"), [
    ({}, {}), ({"gradient_clip_val": 0.05}, {"bound": 0.05}), ({"accumulate_grad_batches": 2}, {"window": 2}),
    ({"precision": "bf16"}, {"autocast": torch.bfloat16}),
])  # fmt: skip
def test_flags(flags: dict[str, Any], loop: dict[str, Any]):
    assert same(fitted(**flags), by_hand(**loop))


def test_a_window_that_is_bounded():
    model, other = fitted(accumulate_grad_batches=3, gradient_clip_val=0.05), by_hand(window=3, bound=0.05)
    torch.testing.assert_close(model.state_dict(), other.state_dict())


def test_only_who_plays_requires_gradients():
    assert fitted().required == [[True, True, False, False], [False, False, True, True]] * 6 * EPOCHS


def test_what_was_frozen_stays_frozen():
    class Frozen(Game):
        def __init__(self) -> None:
            super().__init__()
            self.one.bias.requires_grad = False

    model = Frozen()
    trainer(max_epochs=1).fit(model, batches())
    assert [p.requires_grad for p in model.parameters()] == [True, False, True, True]
    assert torch.equal(model.one.bias, Game().one.bias)


def test_a_step_that_fails_leaves_nothing_frozen():
    class Fails(Game):
        def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int) -> Any:
            if (batch_idx, optimizer_idx) == (2, 1):
                raise RuntimeError("in the step")
            return super().training_step(batch, batch_idx, optimizer_idx)

    model = Fails()
    with pytest.raises(RuntimeError, match="in the step"):
        trainer(max_epochs=1).fit(model, batches())
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("flags", [{}, {"gradient_clip_val": 0.05}])
def test_turns(flags: dict[str, Any]):
    class Turns(Game):
        def configure_optimizers(self) -> Any:
            one, other = super().configure_optimizers()
            return {"optimizer": one, "frequency": 1}, {"optimizer": other, "frequency": 2}

    loop = by_hand(lambda player, batch: (batch % 3 == 0) == (player == 0), bound=flags.get("gradient_clip_val"))
    assert same(fitted(Turns, **flags), loop)


@pytest.mark.parametrize("as_dicts", [False, True])
def test_schedules_of_each(as_dicts: bool):
    class Scheduled(Game):
        def configure_optimizers(self) -> Any:
            one, other = super().configure_optimizers()
            by_step, by_epoch = {"scheduler": ExponentialLR(one, 0.9), "interval": "step"}, StepLR(other, 1, 0.5)
            if as_dicts:
                return [{"optimizer": one, "lr_scheduler": by_step}, {"optimizer": other, "lr_scheduler": by_epoch}]
            return [one, other], [by_step, by_epoch]

    loop = by_hand(
        schedules=lambda one, other: [(0, ExponentialLR(one, 0.9), "step"), (1, StepLR(other, 1, 0.5), "epoch")]
    )
    assert same(fitted(Scheduled), loop)


class AtIntervals(Game):
    """As the documents of the 1.x generation write it."""

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_idx: int, optimizer_closure: Any,
        on_tpu: bool = False, using_native_amp: bool = False, using_lbfgs: bool = False,
    ) -> None:  # fmt: skip
        if batch_idx % (2 + optimizer_idx) == 0:
            optimizer.step(closure=optimizer_closure)


class AtIntervalsEvaluating(Game):
    """It runs the closure where it takes no step."""

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_idx: int, optimizer_closure: Any, **more: Any
    ) -> None:  # fmt: skip
        if batch_idx % (2 + optimizer_idx) == 0:
            optimizer.step(closure=optimizer_closure)
        else:
            optimizer_closure()


class AtIntervalsWithoutClosure(Game):
    """As the oldest documents write it."""

    def optimizer_step(
        self, current_epoch: int, batch_nb: int, optimizer: Any, optimizer_i: int, second_order_closure: Any = None
    ) -> None:  # fmt: skip
        if batch_nb % (2 + optimizer_i) == 0:
            optimizer.step()
            optimizer.zero_grad()


@pytest.mark.parametrize("kind", [AtIntervals, AtIntervalsEvaluating, AtIntervalsWithoutClosure])
def test_steps_at_intervals(kind: type[Game]):
    assert same(fitted(kind), by_hand(lambda player, batch: batch % (2 + player) == 0))
