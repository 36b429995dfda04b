"""Optimization by hand: the module's training_step clears, differentiates and steps; the Trainer keeps count."""

import copy
from typing import Any

import pytest
import torch
from torch.optim import LBFGS, SGD, Adam
from torch.optim.lr_scheduler import StepLR

import functrain_torch as pl
from tests import inside
from tests.adapters.torch.small import Net, batches, same, trainer


class ByHand(Net):
    """Does what the Trainer would."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__(dropout)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        optimizer = self.optimizers(use_pl_optimizer=True)
        optimizer.zero_grad()
        loss = self.loss(batch)
        self.manual_backward(loss)
        optimizer.step()
        return loss


class Older(ByHand):
    """The older order, and the older form of manual_backward."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        opt = self.optimizers()
        loss = self.loss(batch)
        self.manual_backward(loss, opt)
        opt.step()
        opt.zero_grad()


class TorchsOwn(ByHand):
    """With torch's optimizer itself."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        opt = self.optimizers(use_pl_optimizer=False)
        assert type(opt) is SGD
        opt.zero_grad()
        self.manual_backward(self.loss(batch))
        opt.step()


class Closure(ByHand):
    """The step evaluates the loss."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        opt = self.optimizers()

        def closure() -> Any:
            opt.zero_grad()
            loss = self.loss(batch)
            self.manual_backward(loss)
            return loss

        opt.step(closure=closure)


def fitted(model: pl.LightningModule, epochs: int = 2, n: int = 5, **flags: Any) -> pl.Trainer:
    run = trainer(max_epochs=epochs, **flags)
    run.fit(model, batches(n))
    return run


@pytest.mark.parametrize("model", [ByHand, Older, TorchsOwn, Closure])
def test_same_as_automatic(model: type[Net]):
    plain, own = Net(dropout=0.3), model(dropout=0.3)
    own.load_state_dict(plain.state_dict())
    torch.manual_seed(3)
    fitted(plain)
    torch.manual_seed(3)
    run = fitted(own)
    assert same(plain, own)
    assert run.global_step == 10


def test_by_the_trainers_flag():
    """automatic_optimization=False as a flag."""

    class Flagged(Net):
        training_step = ByHand.training_step

    plain = Net()
    own = Flagged()
    own.load_state_dict(plain.state_dict())
    fitted(plain)
    fitted(own, automatic_optimization=False)
    assert same(plain, own)


def test_accumulation_by_hand():
    class Accumulating(ByHand):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            opt = self.optimizers()
            self.manual_backward(self.loss(batch) / 2)
            if batch_idx % 2 == 1:
                opt.step()
                opt.zero_grad()

    plain, own = Net(), Accumulating()
    own.load_state_dict(plain.state_dict())
    fitted(plain, n=4, accumulate_grad_batches=2)
    run = fitted(own, n=4)
    torch.testing.assert_close(plain.state_dict(), own.state_dict())
    assert run.global_step == 4


class Game(pl.LightningModule):
    """Two optimizers, each stepped by hand; optimizer_idx is there and means nothing."""

    def __init__(self, toggles: bool = False) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.toggles = toggles
        self.gen, self.disc = torch.nn.Linear(4, 4), torch.nn.Linear(4, 1)

    def losses(self, x: Any, which: int) -> Any:
        fake = self.disc(self.gen(x))
        return -fake.mean() if which == 0 else (fake - self.disc(x)).square().mean()

    def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int) -> Any:
        for which, opt in enumerate(self.optimizers()):
            if self.toggles:
                self.toggle_optimizer(opt, which)
                assert self.gen.weight.requires_grad is (which == 0)
                assert self.disc.weight.requires_grad is (which == 1)
            opt.zero_grad()
            self.manual_backward(self.losses(batch[0], which), opt)
            opt.step()
            if self.toggles:
                self.untoggle_optimizer(which)

    def both(self) -> Any:
        return Adam(self.gen.parameters(), 0.01), SGD(self.disc.parameters(), 0.1)

    def configure_optimizers(self) -> Any:
        return self.both()


@pytest.mark.parametrize("toggles", [False, True])
def test_several_optimizers(toggles: bool):
    model = Game(toggles)
    other = copy.deepcopy(model)
    run = fitted(model, epochs=1)
    optimizers = other.both()
    for x, _ in batches(5):
        for which, opt in enumerate(optimizers):
            opt.zero_grad()
            other.losses(x, which).backward()
            opt.step()
    assert same(model, other)
    assert run.global_step == 5
    assert inside.updates(run) == [5, 5]
    assert all(p.requires_grad for p in model.parameters())


def test_schedulers_are_stepped_by_hand():
    class Scheduled(ByHand):
        def configure_optimizers(self) -> Any:
            optimizer = SGD(self.parameters(), lr=1.0)
            return [optimizer], [StepLR(optimizer, 1, 0.5)]

        def training_epoch_end(self, outputs: Any) -> None:
            self.lr_schedulers().step()

    run = fitted(Scheduled())
    assert inside.rates(run) == [0.25]


def test_no_optimizer_at_all():
    class Without(ByHand):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            assert self.optimizers() == []
            assert self.lr_schedulers() is None

        def configure_optimizers(self) -> None:
            return None

    assert fitted(Without()).global_step == 0


@pytest.mark.parametrize("model", [ByHand, Closure])
def test_half_precision_scales_and_unscales(model: type[Net]):
    """As the automatic form under the same precision; the scale is that of the policy."""
    plain, own = Net(), model()
    own.load_state_dict(plain.state_dict())
    fitted(plain, precision=16)
    run = fitted(own, precision=16)
    assert same(plain, own)
    assert inside.loss_scales(run)[0] == 2.0**16


def test_half_precision_skips_a_step_that_is_not_finite():
    class Bursting(ByHand):
        def loss(self, batch: Any) -> Any:
            loss = super().loss(batch)
            return loss * float("inf") if self.trainer.global_step == 1 else loss

    model = Bursting()
    weights = []
    model.on_train_batch_end = lambda: weights.append(model.net[0].weight.detach().clone())
    run = fitted(model, epochs=1, n=3, precision=16)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])
    assert inside.loss_scales(run)[0] == 2.0**15


def test_half_precision_with_several_optimizers_has_one_scale_in_a_batch():
    """An overflow of one does not spoil the gradients of the other, though both ran backward before either steps."""
    checked = []

    class Bursting(Game):
        def losses(self, x: Any, which: int) -> Any:
            bursts = which == 0 and self.trainer.global_step == 1
            return super().losses(x, which).float() * (float("inf") if bursts else 1e-3)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            with torch.autocast("cpu", enabled=False):
                (self.expected,) = torch.autograd.grad(self.losses(batch[0], 1), self.disc.weight)
            optimizers = self.optimizers()
            for which, opt in enumerate(optimizers):
                self.toggle_optimizer(opt)
                opt.zero_grad()
                self.manual_backward(self.losses(batch[0], which))
                self.untoggle_optimizer()
            for opt in optimizers:
                opt.step()

        def on_before_optimizer_step(self, optimizer: Any, optimizer_idx: int) -> None:
            if optimizer_idx == 1:
                torch.testing.assert_close(self.disc.weight.grad, self.expected, rtol=0.05, atol=1e-5)
                checked.append(self.global_step)

    run = fitted(Bursting(), epochs=1, n=4, precision=16)
    assert checked == [0, 1, 2, 3]
    assert inside.loss_scales(run) == [2.0**15] * 2
    assert inside.clock(run).skipped == 1


def test_lbfgs_by_hand():
    class Newton(Closure):
        def configure_optimizers(self) -> Any:
            return LBFGS(self.parameters(), lr=0.5, max_iter=3)

    model = Newton()
    other = copy.deepcopy(model)
    optimizer = LBFGS(other.parameters(), lr=0.5, max_iter=3)
    for _ in range(2):
        for batch in batches(5):

            def closure(batch: Any = batch) -> Any:
                optimizer.zero_grad()
                loss = other.loss(batch)
                loss.backward()
                return loss

            optimizer.step(closure)
    fitted(model)
    assert same(model, other)


def test_hooks_of_the_step():
    calls: list[str] = []

    class Hooked(ByHand):
        def on_before_backward(self, loss: Any) -> None:
            calls.append("before_backward")

        def on_after_backward(self) -> None:
            calls.append("after_backward")

        def on_before_optimizer_step(self, optimizer: Any, optimizer_idx: int) -> None:
            calls.append(f"before_step {optimizer_idx}")

    fitted(Hooked(), epochs=1, n=1)
    assert calls == ["before_backward", "after_backward", "before_step 0"]


def test_clip_gradients():
    class Clipping(ByHand):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            opt = self.optimizers()
            opt.zero_grad()
            self.manual_backward(self.loss(batch))
            self.clip_gradients(opt, gradient_clip_val=0.05, gradient_clip_algorithm="norm")
            opt.step()

    plain, own = Net(), Clipping()
    own.load_state_dict(plain.state_dict())
    fitted(plain, gradient_clip_val=0.05)
    fitted(own)
    assert same(plain, own)


def test_outside_a_run_it_says_so():
    with pytest.raises(pl.ConfigurationError, match=r"ByHand\.manual_backward\(\): no Trainer runs this module yet"):
        ByHand().manual_backward(torch.ones(()))


def test_where_nothing_is_trained_it_says_so():
    class Validating(ByHand):
        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            self.manual_backward(self.loss(batch))

    with pytest.raises(
        pl.ConfigurationError, match=r"Validating\.manual_backward\(\): there are no optimizers in this"
    ):
        trainer().validate(Validating(), batches(1))


def test_terminate_on_nan():
    class Nan(ByHand):
        def loss(self, batch: Any) -> Any:
            return super().loss(batch) * float("nan")

    with pytest.raises(RuntimeError, match="loss is nan"):
        fitted(Nan(), terminate_on_nan=True)


@pytest.mark.parametrize("flags", [{"accumulate_grad_batches": 2}, {"gradient_clip_val": 0.1}])
def test_flags_that_are_left_to_the_module_are_told_once(flags: dict[str, Any]):
    (name,) = flags
    with pytest.warns(UserWarning, match=rf"optimizes by hand: Trainer\({name}=.*does nothing") as told:
        trainer(max_epochs=2, **flags).fit(ByHand(), batches(2))
    assert len(told) == 1


def test_a_bound_that_the_module_applies_is_not_told():
    class Clips(ByHand):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            self.clip_gradients(self.optimizers())
            super().training_step(batch, batch_idx)

    trainer(max_epochs=2, gradient_clip_val=0.1).fit(Clips(), batches(2))
