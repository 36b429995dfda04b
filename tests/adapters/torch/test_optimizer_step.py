"""optimizer_step of one's own, in every generation's signature; optimizers that evaluate the loss themselves."""

import copy
from typing import Any

import pytest
import torch
from torch.optim import LBFGS, SGD

from tests.adapters.torch.small import Net, batches, same, trainer


def fitted(model: Net, epochs: int = 2, n: int = 5, **flags: Any) -> Net:
    """The model after a fit; the Trainer that did it is its `trainer`."""
    trainer(max_epochs=epochs, **flags).fit(model, batches(n))
    return model


class Old(Net):
    """The oldest form: no closure; backward has run before."""

    def optimizer_step(self, current_epoch, batch_nb, optimizer, optimizer_i, second_order_closure=None):
        assert isinstance(optimizer, torch.optim.Optimizer)
        assert all(p.grad is not None for p in self.parameters())
        optimizer.step()
        optimizer.zero_grad()


class OldWithClosure(Net):
    """The oldest form, the closure handed on."""

    def optimizer_step(self, current_epoch, batch_nb, optimizer, optimizer_i, second_order_closure=None):
        optimizer.step(second_order_closure)


class New(Net):
    """The newer form."""

    def optimizer_step(
        self, epoch, batch_idx, optimizer, optimizer_idx, optimizer_closure, on_tpu, using_native_amp, using_lbfgs
    ):
        assert (on_tpu, using_native_amp, using_lbfgs) == (False, False, False)
        optimizer.step(closure=optimizer_closure)


class CallingItself(Net):
    """Calls the closure before the step."""

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_idx, optimizer_closure, **kwargs):
        loss = optimizer_closure()
        assert loss.ndim == 0
        optimizer.step()


class Super(Net):
    """Asks the base class."""

    def optimizer_step(self, *args, **kwargs):
        super().optimizer_step(*args, **kwargs)


@pytest.mark.parametrize("model", [Old, OldWithClosure, New, CallingItself, Super])
@pytest.mark.parametrize("flags", [{}, {"accumulate_grad_batches": 2}, {"gradient_clip_val": 0.1}])
def test_same_as_without(model: type[Net], flags: dict[str, Any]):
    plain = Net(dropout=0.3)
    own = model(dropout=0.3)
    own.load_state_dict(plain.state_dict())
    torch.manual_seed(3)
    fitted(plain, **flags)
    torch.manual_seed(3)
    fitted(own, **flags)
    assert same(plain, own)


def test_arguments_of_the_old_form():
    seen = []

    class Telling(Net):
        def optimizer_step(self, current_epoch, batch_nb, optimizer, optimizer_i, second_order_closure=None):
            seen.append((current_epoch, batch_nb, optimizer_i, callable(second_order_closure)))
            optimizer.step()

    fitted(Telling(), n=2)
    assert seen == [(epoch, batch, 0, True) for epoch in (0, 1) for batch in (0, 1)]


def test_warm_up():
    """A learning-rate warm-up, by the number of updates done."""
    used = []

    class WarmUp(Net):
        def optimizer_step(self, current_epoch, batch_nb, optimizer, optimizer_i, second_order_closure=None):
            if self.trainer.global_step < 8:
                lr_scale = min(1.0, float(self.trainer.global_step + 1) / 8.0)
                for pg in optimizer.param_groups:
                    pg["lr"] = lr_scale * 0.1
            used.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            optimizer.zero_grad()

    fitted(WarmUp())
    assert used == pytest.approx([0.1 * min(1.0, (i + 1) / 8) for i in range(10)])


def test_step_at_intervals_of_ones_own():
    """The optimizer steps at every second batch only, with that batch's gradients."""

    class Alternate(Net):
        def optimizer_step(self, current_epoch, batch_nb, optimizer, optimizer_i, second_order_closure=None):
            if batch_nb % 2 == 0:
                optimizer.step()
                optimizer.zero_grad()

    model = Alternate()
    other = copy.deepcopy(model)
    optimizer = other.configure_optimizers()
    for _ in range(2):
        for i, batch in enumerate(batches(5)):
            if i % 2 == 0:
                optimizer.zero_grad()
                other.loss(batch).backward()
                optimizer.step()
    assert same(fitted(model), other)


def lbfgs(model: Net) -> LBFGS:
    return LBFGS(model.parameters(), lr=0.5, max_iter=4, line_search_fn="strong_wolfe")


class Newton(Net):
    """An optimizer that evaluates the loss several times a step."""

    def configure_optimizers(self) -> Any:
        return lbfgs(self)


def lbfgs_by_hand(model: Net, loader: Any, window: int = 1, epochs: int = 2) -> None:
    optimizer, items = lbfgs(model), list(loader)
    for _ in range(epochs):
        for first in range(0, len(items), window):
            part = items[first : first + window]

            def closure(part: Any = part) -> Any:
                optimizer.zero_grad()
                total = sum_of([model.loss(batch) for batch in part])
                for p in model.parameters():
                    if len(part) > 1:
                        p.grad.mul_(1 / len(part))
                return total / len(part)

            optimizer.step(closure)


def sum_of(losses: list[Any]) -> Any:
    for loss in losses:
        loss.backward()
    return torch.stack([loss.detach() for loss in losses]).sum()


def test_lbfgs():
    model, loader = Newton(), batches(5)
    other = copy.deepcopy(model)
    lbfgs_by_hand(other, loader)
    assert same(fitted(model), other)
    assert model.trainer.global_step == 10


def test_lbfgs_over_a_window():
    model, loader = Newton(), batches(5)
    other = copy.deepcopy(model)
    lbfgs_by_hand(other, loader, window=2)
    assert same(fitted(model, accumulate_grad_batches=2), other)


def test_lbfgs_clips_each_evaluation():
    model, loader, bound = Newton(), batches(3), 0.05
    other = copy.deepcopy(model)
    optimizer = lbfgs(other)
    for batch in loader:

        def closure(batch: Any = batch) -> Any:
            optimizer.zero_grad()
            loss = other.loss(batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(other.parameters(), bound)
            return loss

        optimizer.step(closure)
    assert same(fitted(model, epochs=1, n=3, gradient_clip_val=bound), other)


def test_lbfgs_logs_a_window_once():
    class Logging(Newton):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("evaluations", 1.0, on_step=False, on_epoch=True, reduce_fx="sum")
            return self.loss(batch)

    assert fitted(Logging()).trainer.callback_metrics["evaluations"] == 5


def test_two_lbfgs_over_a_window_keep_their_windows_apart():
    """Each sees the batches of its own window, with their own numbers."""
    seen: list[Any] = []

    class Two(Net):
        def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int) -> Any:
            seen.append((optimizer_idx, batch_idx))
            return self.loss(batch)

        def configure_optimizers(self) -> Any:
            return [LBFGS(part.parameters(), lr=0.1, max_iter=2, tolerance_grad=0.0, tolerance_change=0.0)
                    for part in (self.net[0], self.net[3])]  # fmt: skip

    fitted(Two(), epochs=1, n=2, accumulate_grad_batches=2)
    assert seen == [(0, 0), (1, 0), (0, 1), (0, 0), (0, 1), (1, 1), (1, 0), (1, 1)]


def test_lbfgs_with_a_step_of_ones_own():
    class Telling(Newton):
        def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_idx, optimizer_closure, using_lbfgs):
            assert using_lbfgs
            optimizer.step(optimizer_closure)

    model = Telling()
    other = copy.deepcopy(model)
    lbfgs_by_hand(other, batches(5))
    assert same(fitted(model), other)


def test_an_optimizer_that_moves_the_weights_before_it_evaluates():
    """Sharpness-aware minimisation calls the closure at another place; the gradients there are used."""

    class Sharp(SGD):
        def step(self, closure):
            closure()
            with torch.no_grad():
                for group in self.param_groups:
                    for p in group["params"]:
                        p.add_(p.grad, alpha=0.05)
                        self.state[p]["moved"] = p.grad.clone()
            loss = closure()
            with torch.no_grad():
                for group in self.param_groups:
                    for p in group["params"]:
                        p.sub_(self.state[p]["moved"], alpha=0.05)
            super().step()
            return loss

    class Model(Net):
        def configure_optimizers(self) -> Any:
            return Sharp(self.parameters(), 0.1)

    model = Model()
    other = copy.deepcopy(model)
    optimizer = Sharp(other.parameters(), 0.1)
    for _ in range(2):
        for batch in batches(5):

            def closure(batch: Any = batch) -> Any:
                optimizer.zero_grad()
                loss = other.loss(batch)
                loss.backward()
                return loss

            optimizer.step(closure)
    assert same(fitted(model), other)
