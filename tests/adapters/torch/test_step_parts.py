"""A training step taken from a module without a Trainer moves it as `trainer.fit` does, bit for bit."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch.optim import LBFGS, SGD, Adam
from torch.optim.lr_scheduler import StepLR

from functrain import kernel
from functrain.kernel import Clock
from functrain.kernel.window import grouped
from functrain.trainer.context import Context
from functrain.trainer.flags import Flags
from functrain_torch.parts import StepParts, step_parts
from functrain_torch.strategy import OneDevice
from tests.adapters.torch.small import Net, batches, same, trainer

EPOCHS, BATCHES = 2, 7


class Scheduled(Net):
    """Its learning rate falls after every other update, and after each epoch."""

    def configure_optimizers(self) -> Any:
        optimizer = Adam(self.parameters(), lr=0.1)
        by_update = {"scheduler": StepLR(optimizer, 1, gamma=0.9), "interval": "step", "frequency": 2}
        return [optimizer], [by_update, StepLR(optimizer, 1, gamma=0.5)]


class Two(Net):
    """An optimizer a layer, each with a loss of its own."""

    def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int) -> Any:
        return self.loss(batch) * (1 + optimizer_idx + batch_idx)

    def configure_optimizers(self) -> Any:
        return SGD(self.net[0].parameters(), lr=0.1, momentum=0.9), SGD(self.net[3].parameters(), lr=0.2)


class Quadratic(Net):
    """An optimizer that evaluates the loss by itself."""

    def configure_optimizers(self) -> Any:
        return LBFGS(self.parameters(), lr=0.1, max_iter=3)


class Hooked(Net):
    """A hook that looks at the gradients, and clips them in its own way."""

    def configure_gradient_clipping(self, optimizer: Any, *args: Any) -> None:
        for parameter in self.parameters():
            if parameter.grad is not None:
                parameter.grad.clamp_(-1e-2, 1e-2)


class Reading(Net):
    """A loss that depends on the position."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("loss", torch.zeros(()))
        return self.loss(batch) / (1 + self.global_step + 10 * self.current_epoch)


def ignored(*args: Any) -> None:
    pass


def by_hand(module: Net, log: Callable[..., None] = ignored, **flags: Any) -> StepParts:
    """Train without a Trainer; returns what the steps were made of."""
    place = [Clock()]
    parts = step_parts(module, Flags(**flags), Context(lambda: place[0], log))
    state, window = parts.init(), flags.get("accumulate_grad_batches", 1)
    for epoch in range(EPOCHS):
        for group in grouped(batches(BATCHES), window):
            state, reports = kernel.step(parts.backend, parts.rules, state, group)
            place[0] = state.clock
            parts.schedulers.after_update(state, reports)
        parts.schedulers.end_epoch(epoch, {})
        state = state._replace(clock=state.clock.next_epoch())
        place[0] = state.clock
    return parts


@pytest.mark.parametrize(
    ("kind", "flags"),
    [
        (Net, {}),
        (Net, {"accumulate_grad_batches": 3}),
        (Net, {"gradient_clip_val": 0.01}),
        (Net, {"gradient_clip_val": 1e-3, "gradient_clip_algorithm": "value", "accumulate_grad_batches": 2}),
        (Net, {"precision": "bf16"}),
        (Net, {"precision": 16}),
        (Two, {}),
        (Two, {"accumulate_grad_batches": 2, "gradient_clip_val": 0.1}),
        (Scheduled, {}),
        (Quadratic, {"accumulate_grad_batches": 2}),
        (Hooked, {}),
        (Reading, {"accumulate_grad_batches": 2}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "-".join(map(str, value.values())) or "plain",
)
def test_steps_without_a_trainer_are_those_of_fit(kind: type[Net], flags: dict[str, Any]):
    torch.manual_seed(3)
    fitted = kind(dropout=0.3)
    torch.manual_seed(3)
    stepped = kind(dropout=0.3)
    torch.manual_seed(4)
    trainer(max_epochs=EPOCHS, **flags).fit(fitted, batches(BATCHES))
    torch.manual_seed(4)
    by_hand(stepped, **flags)
    assert same(fitted, stepped)


@pytest.mark.parametrize("kind", [Net, Two, Quadratic, Hooked])
def test_a_verb_of_the_backend_is_what_its_class_says_whatever_the_step_needs(kind: type[Net]):
    """No instance has another `accumulate` or `backward` than its class: whoever reads the class has read the step."""
    for strategy in (OneDevice(), Elsewhere()):
        backend = step_parts(kind(), Flags(), Context(Clock, ignored), strategy=strategy).backend
        assert [name for name in vars(backend) if name in ("accumulate", "backward", "take_step", "apply")] == []


def test_what_a_pure_step_logs_reaches_its_context():
    logged: list[str] = []
    by_hand(Reading(), log=lambda name, *rest: logged.append(name))
    assert logged == ["loss"] * EPOCHS * BATCHES


def test_the_plan_of_a_pure_step_is_that_of_fit():
    module = Two()
    parts = step_parts(module, Flags(max_epochs=3, accumulate_grad_batches={1: 4}), Context(Clock, ignored))
    plan = parts.plan(10)
    assert (plan.batches, plan.max_epochs, len(plan.players)) == (10, 3, 2)
    assert [plan.windows.at(epoch) for epoch in (0, 1)] == [1, 4]


class Elsewhere(OneDevice):
    """A strategy that is asked at every micro-batch, and that brings everything together at the window's end."""

    travels = True

    def __init__(self) -> None:
        super().__init__()
        self.told: list[bool] = []
        self.reduced = self.stepped = 0

    def travel(self, closes: bool) -> Any:
        self.told.append(closes)

    def reduce(self, acc: Any) -> Any:
        self.reduced += 1
        return super().reduce(acc)

    def step(self, optimizer: Any, closure: Any) -> Any:
        self.stepped += 1
        return super().step(optimizer, closure)


@pytest.mark.parametrize("kind", [Net, Hooked, Quadratic])
def test_a_strategy_is_told_which_micro_batch_closes_the_window(kind: type[Net]):
    strategy, module = Elsewhere(), kind()
    parts = step_parts(module, Flags(), Context(Clock, ignored), strategy=strategy)
    loader: Iterable[Any] = list(batches(3))
    kernel.step(parts.backend, parts.rules, parts.init(), list(loader))
    assert strategy.told[:3] == [False, False, True]
    assert (strategy.reduced, strategy.stepped) == (1, 1)
