"""Autocast keeps no cast of a weight across an update, however it is made: bit for bit the hand-written loop that
enters it anew for every forward pass, and by hand keeps no casts at all."""

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

import functrain_torch as pl
from tests.adapters.torch.small import QUIET, Net, batches, same


def cast(kept: bool = True) -> Any:
    return torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=kept)


def fit(model: pl.LightningModule, **flags: Any) -> pl.LightningModule:
    pl.Trainer(**{**QUIET, "max_epochs": 2, "precision": "bf16", **flags}).fit(model, batches(3))
    return model


class ThreeSteps(Net):
    """Three updates in one training step, with the Trainer's optimizer, torch's own, or one that it makes itself."""

    automatic_optimization = False

    def __init__(self, which: str = "wrapped") -> None:
        super().__init__()
        self.which = which
        self.losses: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> None:
        wrapped = self.optimizers()
        own = {"wrapped": wrapped, "torch's": self.optimizers(use_pl_optimizer=False)}.get(self.which)
        own = own or torch.optim.SGD(self.parameters(), lr=0.5)
        for _ in range(3):
            loss = self.loss(batch)
            own.zero_grad()
            if self.which == "wrapped":
                self.manual_backward(loss)
            else:
                loss.backward()
            own.step()
            self.losses.append(loss.item())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.5)


@pytest.mark.parametrize("which", ["wrapped", "torch's", "its own"])
def test_three_steps_in_one_training_step_train_on_three_weights(which):
    model = ThreeSteps(which)
    other = copy.deepcopy(model)
    optimizer = other.configure_optimizers()
    for _ in range(2):
        for batch in batches(3):
            for _ in range(3):
                optimizer.zero_grad()
                with cast():
                    loss = other.loss(batch)
                loss.backward()
                optimizer.step()
                other.losses.append(loss.item())
    fit(model)
    assert model.losses == other.losses
    assert same(model, other)
    assert len(set(model.losses[:3])) == 3


class Gan(pl.LightningModule):
    """The second player judges with what the first has learnt."""

    def __init__(self, by_hand: bool = True) -> None:
        super().__init__()
        self.automatic_optimization = not by_hand
        self.judge, self.maker = nn.Linear(4, 1), nn.Linear(4, 4)

    def play(self, x: Any, player: int) -> Any:
        if player == 0:
            with torch.no_grad():
                made = self.maker(x)
            return functional.softplus(-self.judge(x)).mean() + functional.softplus(self.judge(made)).mean()
        return functional.softplus(-self.judge(self.maker(x))).mean()

    def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int = 0) -> Any:
        if self.automatic_optimization:
            return self.play(batch[0], optimizer_idx)
        for player, optimizer in enumerate(self.optimizers()):
            optimizer.zero_grad()
            self.manual_backward(self.play(batch[0], player))
            optimizer.step()
        return None

    def configure_optimizers(self) -> Any:
        return [torch.optim.Adam(part.parameters(), lr=0.1) for part in (self.judge, self.maker)]


@pytest.mark.parametrize("by_hand", [True, False])
def test_the_second_player_of_a_gan_trains_against_present_weights(by_hand):
    model = Gan(by_hand)
    other = copy.deepcopy(model)
    optimizers = other.configure_optimizers()
    for _ in range(2):
        for x, _ in batches(3):
            for player, optimizer in enumerate(optimizers):
                for i, part in enumerate((other.judge, other.maker)):
                    part.requires_grad_(by_hand or i == player)
                optimizer.zero_grad()
                with cast(kept=not by_hand):
                    loss = other.play(x, player)
                loss.backward()
                optimizer.step()
    assert same(fit(model), other)


def minus_gradient(parameter: Any) -> None:
    with torch.no_grad():
        parameter -= 0.5 * parameter.grad


def by_data(parameter: Any) -> None:
    parameter.data.copy_(parameter.data - 0.5 * parameter.grad)


def by_clamping(parameter: Any) -> None:
    parameter.data.clamp_(-0.1, 0.1)


@pytest.mark.parametrize("change", [minus_gradient, by_data, by_clamping])
def test_weights_that_are_changed_without_an_optimizer_are_seen_by_the_next_forward_pass(change):
    class Model(Net):
        automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            found = torch.autograd.grad(self.loss(batch), list(self.parameters()))
            for parameter, gradient in zip(self.parameters(), found, strict=True):
                parameter.grad = gradient
            for parameter in self.parameters():
                change(parameter)
            after = self.loss(batch)
            with torch.autocast("cpu", enabled=False), cast():
                torch.clear_autocast_cache()
                anew = self.loss(batch)
            assert after.item() == anew.item()
            losses.append(after.item())

    losses: list[float] = []
    fit(Model(), max_epochs=1)
    assert len(losses) == 3


class Lbfgs(Net):
    """Its optimizer evaluates the loss by itself, between updates."""

    def __init__(self, by_hand: bool) -> None:
        super().__init__()
        self.automatic_optimization = not by_hand

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if self.automatic_optimization:
            return self.loss(batch)
        optimizer = self.optimizers()

        def closure() -> Any:
            optimizer.zero_grad()
            loss = self.loss(batch)
            loss.backward()
            return loss

        optimizer.step(closure)
        return None

    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters(), lr=0.2, max_iter=4)


@pytest.mark.parametrize("by_hand", [True, False])
def test_lbfgs_evaluates_with_present_weights(by_hand):
    model = Lbfgs(by_hand)
    other = copy.deepcopy(model)
    optimizer = other.configure_optimizers()
    for _ in range(2):
        for batch in batches(3):

            def closure(batch: Any = batch) -> Any:
                optimizer.zero_grad()
                with cast():
                    loss = other.loss(batch)
                loss.backward()
                return loss

            optimizer.step(closure)
    assert same(fit(model), other)


def test_the_optimizer_and_backward_run_at_full_precision():
    seen = set()

    class Looking(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            seen.add(torch.is_autocast_enabled("cpu"))
            return super().step(closure)

    class Model(ThreeSteps):
        def configure_optimizers(self) -> Any:
            return Looking(self.parameters(), lr=0.5)

        def training_step(self, batch: Any, batch_idx: int) -> None:
            super().training_step(batch, batch_idx)
            assert torch.is_autocast_enabled("cpu")

    fit(Model())
    assert seen == {False}


def test_other_optimizers_are_left_alone_after_the_run():
    fit(ThreeSteps())
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    with cast():
        optimizer.step()
        assert torch.is_autocast_enabled("cpu")
    assert not _global_optimizer_pre_hooks
    assert not _global_optimizer_post_hooks
