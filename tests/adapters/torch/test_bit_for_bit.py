"""A run's losses and weights are those of a loop written by hand, bit for bit."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau, StepLR

from tests import inside
from tests.adapters.torch.small import Net, batches, forks, same, trainer

EPOCHS = 3
Optimizer = Callable[[Any], torch.optim.Optimizer]
Clip = Callable[[Any], object]

OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": lambda p: SGD(p, 0.1),
    "momentum": lambda p: SGD(p, 0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: Adam(p, 0.01),
    "adamw": lambda p: AdamW(p, 0.01, weight_decay=0.1),
}


class Recording(Net):
    """Keeps its losses; the optimizer is given."""

    def __init__(self, optimizer: Optimizer = OPTIMIZERS["adam"], dropout: float = 0.0) -> None:
        super().__init__(dropout)
        self.optimizer, self.losses = optimizer, []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.losses.append(loss.detach())
        return loss

    def configure_optimizers(self) -> Any:
        return self.optimizer(self.parameters())


def by_hand(model: Recording, loader: Any, window: Callable[[int], int] = lambda epoch: 1, clip: Clip | None = None):
    """The loop that everybody writes; a window's gradients are summed, and divided once by its own length."""
    optimizer = model.configure_optimizers()
    model.train()
    for epoch in range(EPOCHS):
        optimizer.zero_grad()
        count = 0
        for i, batch in enumerate(loader):
            model.training_step(batch, i).backward()
            count += 1
            if count == window(epoch) or i + 1 == len(loader):
                if count > 1:
                    for p in model.parameters():
                        p.grad.mul_(1 / count)
                if clip is not None:
                    clip(model.parameters())
                optimizer.step()
                optimizer.zero_grad()
                count = 0


def compare(model: Recording, loader: Any, hand: Callable[[Recording], None] | None = None, **flags: Any) -> None:
    """Both from the same weights and the same seed; the same losses and weights in the end."""
    other = copy.deepcopy(model)
    torch.manual_seed(5)
    trainer(max_epochs=EPOCHS, **flags).fit(model, loader)
    torch.manual_seed(5)
    (hand or (lambda m: by_hand(m, loader)))(other)
    assert torch.equal(torch.stack(model.losses), torch.stack(other.losses))
    assert same(model, other)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("shuffle", [False, True])
def test_plain(name: str, shuffle: bool):
    compare(Recording(OPTIMIZERS[name]), batches(7, extra=3, shuffle=shuffle))


def test_dropout_draws_the_same_numbers():
    compare(Recording(dropout=0.3), batches(7, shuffle=True))


@forks
@pytest.mark.parametrize("workers", [1, 2])
def test_loader_with_workers(workers: int):
    compare(Recording(), batches(4, shuffle=True, num_workers=workers))


@pytest.mark.parametrize("bound", [0.05, 0.5, 100.0])
def test_clipped_by_norm(bound: float):
    loader = batches(7, shuffle=True)
    compare(Recording(), loader, lambda m: by_hand(m, loader, clip=lambda p: clip_grad_norm_(p, bound)),
            gradient_clip_val=bound)  # fmt: skip


@pytest.mark.parametrize("bound", [0.01, 0.1])
def test_clipped_by_value(bound: float):
    loader = batches(7, shuffle=True)
    compare(Recording(), loader, lambda m: by_hand(m, loader, clip=lambda p: clip_grad_value_(p, bound)),
            gradient_clip_val=bound, gradient_clip_algorithm="value")  # fmt: skip


@pytest.mark.parametrize("name", ["sgd", "adamw"])
@pytest.mark.parametrize("size", [2, 3, 8, 20])
def test_accumulated(name: str, size: int):
    """8 batches: 3 leaves a shorter last window, 20 is longer than the epoch."""
    loader = batches(8, shuffle=True)
    compare(Recording(OPTIMIZERS[name]), loader, lambda m: by_hand(m, loader, lambda epoch: size),
            accumulate_grad_batches=size)  # fmt: skip


def test_accumulated_by_a_schedule():
    loader = batches(7)
    compare(Recording(), loader, lambda m: by_hand(m, loader, lambda epoch: 2 if epoch >= 1 else 1),
            accumulate_grad_batches={1: 2})  # fmt: skip


def test_accumulated_and_clipped_is_one_factor():
    """Mean and clipping are one multiplication; a loop that multiplies twice is within rounding."""
    loader, bound = batches(7), 0.2

    def once(model: Recording) -> None:
        optimizer = model.configure_optimizers()
        for _ in range(EPOCHS):
            for first, window in windows(list(loader), 3):
                for i, batch in enumerate(window):
                    model.training_step(batch, first + i).backward()
                norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()]) / len(window)
                factor = torch.clamp(bound / (norm + 1e-6), max=1.0) / len(window)
                for p in model.parameters():
                    p.grad.mul_(factor)
                optimizer.step()
                optimizer.zero_grad()

    compare(Recording(), loader, once, accumulate_grad_batches=3, gradient_clip_val=bound)
    one, two = Recording(), None
    two = copy.deepcopy(one)
    once(one)
    by_hand(two, loader, lambda epoch: 3, lambda p: clip_grad_norm_(p, bound))
    torch.testing.assert_close(one.state_dict(), two.state_dict())


def windows(items: list[Any], size: int) -> list[tuple[int, list[Any]]]:
    return [(i, items[i : i + size]) for i in range(0, len(items), size)]


@pytest.mark.parametrize("window", [1, 2])
def test_a_hook_that_looks_at_gradients_sees_their_mean_before_clipping(window: int):
    """With such a hook the factor is applied in two parts, as in the loop by hand."""
    seen: list[Any] = []

    class Looking(Recording):
        def on_before_optimizer_step(self, optimizer: Any) -> None:
            seen.append([p.grad.clone() for p in self.parameters()])

    loader, expected = batches(4), []

    def clip(parameters: Any) -> None:
        parameters = list(parameters)
        expected.append([p.grad.clone() for p in parameters])
        clip_grad_norm_(parameters, 0.1)

    compare(Looking(), loader, lambda m: by_hand(m, loader, lambda epoch: window, clip),
            gradient_clip_val=0.1, accumulate_grad_batches=window)  # fmt: skip
    assert len(seen) == len(expected)
    assert all(torch.equal(a, b) for x, y in zip(seen, expected, strict=True) for a, b in zip(x, y, strict=True))


class Scheduled(Recording):
    """With a scheduler, made of the optimizer."""

    def __init__(self, scheduler: Callable[[Any], dict[str, Any]]) -> None:
        super().__init__(OPTIMIZERS["momentum"])
        self.scheduler = scheduler

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.parameters())
        return {"optimizer": optimizer, "lr_scheduler": self.scheduler(optimizer)}

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))


def by_hand_scheduled(model: Scheduled, loader: Any, per_batch: bool, metric: Callable[[], Any] | None = None) -> None:
    configured = model.configure_optimizers()
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    for _ in range(EPOCHS):
        for i, batch in enumerate(loader):
            optimizer.zero_grad()
            model.training_step(batch, i).backward()
            optimizer.step()
            if per_batch:
                scheduler.step()
        if not per_batch:
            scheduler.step() if metric is None else scheduler.step(metric())


def test_step_lr():
    loader = batches(5, shuffle=True)
    model = Scheduled(lambda o: {"scheduler": StepLR(o, 1, 0.5)})
    compare(model, loader, lambda m: by_hand_scheduled(m, loader, per_batch=False))


def test_one_cycle_by_step():
    loader = batches(5, shuffle=True)
    model = Scheduled(lambda o: {"scheduler": OneCycleLR(o, 0.5, total_steps=5 * EPOCHS), "interval": "step"})
    compare(model, loader, lambda m: by_hand_scheduled(m, loader, per_batch=True))


def test_reduce_on_plateau():
    loader, val = batches(5), batches(2, size=6)
    model = Scheduled(lambda o: {"scheduler": ReduceLROnPlateau(o, factor=0.1, patience=0, threshold=10.0)})

    def hand(other: Scheduled) -> None:
        def val_loss() -> Any:
            with torch.no_grad():
                return sum(other.loss(batch) * 6 for batch in val) / 12

        by_hand_scheduled(other, loader, per_batch=False, metric=val_loss)

    other = copy.deepcopy(model)
    run = trainer(max_epochs=EPOCHS)
    run.fit(model, loader, val)
    hand(other)
    assert same(model, other)
    rate = inside.rates(run)[0]
    assert rate == pytest.approx(0.1 * 0.1**EPOCHS)
