"""The step of a torch module as a function = what the Trainer does with it, to the bit."""

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

import functrain_torch as pl
from functrain_torch import ConfigurationError, functional, load_state
from tests import inside

QUIET = {
    "logger": False,
    "checkpoint_callback": False,
    "progress_bar_refresh_rate": 0,
    "weights_summary": None,
    "num_sanity_val_steps": 0,
}


class Net(pl.LightningModule):
    """BatchNorm and dropout, and what it logs."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1))

    def loss(self, batch):
        return mse_loss(self.net(batch[0]), batch[1])

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(batch))

    def test_step(self, batch, batch_idx):
        self.log("test_loss", self.loss(batch))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-2)


class Scheduled(Net):
    def configure_optimizers(self):
        adam = torch.optim.Adam(self.parameters(), 1e-2)
        by_step = {"scheduler": torch.optim.lr_scheduler.StepLR(adam, 2), "interval": "step"}
        by_epoch = torch.optim.lr_scheduler.ExponentialLR(adam, 0.5)
        return [adam], [by_step, by_epoch]


class Plateau(Net):
    def configure_optimizers(self):
        sgd = torch.optim.SGD(self.parameters(), 1e-2, momentum=0.9)
        watch = torch.optim.lr_scheduler.ReduceLROnPlateau(sgd, patience=0, threshold=10.0)
        return {"optimizer": sgd, "lr_scheduler": {"scheduler": watch, "monitor": "train_loss"}}


class PlateauByStep(Net):
    def configure_optimizers(self):
        sgd = torch.optim.SGD(self.parameters(), 1e-2)
        watch = torch.optim.lr_scheduler.ReduceLROnPlateau(sgd, patience=1, threshold=10.0)
        return {
            "optimizer": sgd,
            "lr_scheduler": {"scheduler": watch, "monitor": "train_loss", "interval": "step"},
        }


class Two(Net):
    """Two optimizers that take turns."""

    def __init__(self):
        super().__init__()
        self.other = nn.Linear(3, 1)

    def training_step(self, batch, batch_idx, optimizer_idx):
        net = self.net if optimizer_idx == 0 else self.other
        loss = mse_loss(net(batch[0]), batch[1])
        self.log(f"loss_{optimizer_idx}", loss, on_epoch=True)
        return loss

    def configure_optimizers(self):
        return (
            {"optimizer": torch.optim.Adam(self.net.parameters(), 1e-2), "frequency": 2},
            {"optimizer": torch.optim.SGD(self.other.parameters(), 1e-2), "frequency": 1},
        )


class Sequence(pl.LightningModule):
    """Batches are cut along time."""

    truncated_bptt_steps = 2

    def __init__(self):
        super().__init__()
        self.cell, self.out = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 1)

    def training_step(self, batch, batch_idx, hiddens):
        x, y = batch
        hidden, hiddens = self.cell(x, hiddens)
        loss = mse_loss(self.out(hidden), y)
        self.log("train_loss", loss, on_epoch=True)
        return {"loss": loss, "hiddens": hiddens}

    def configure_optimizers(self):
        adam = torch.optim.Adam(self.parameters(), 1e-2)
        return [adam], [{"scheduler": torch.optim.lr_scheduler.StepLR(adam, 2), "interval": "step"}]


class ByHand(Net):
    """Optimization by hand, a gradient kept over two batches."""

    automatic_optimization = False

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.manual_backward(loss)
        if batch_idx % 2:
            optimizer = self.optimizers()
            optimizer.step()
            optimizer.zero_grad()
        self.log("train_loss", loss, on_epoch=True)


class Searching(Net):
    def configure_optimizers(self):
        return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=3)

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))


class Hooked(Net):
    """Overrides the hooks of the step, and counts those of the loop."""

    def __init__(self):
        super().__init__()
        self.called = []

    def on_train_start(self):
        self.called.append("on_train_start")

    def on_train_epoch_start(self):
        self.called.append(f"epoch {self.current_epoch}")

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.called.append(f"batch {batch_idx} {float(outputs['loss'])}")

    def on_before_zero_grad(self, optimizer):
        self.called.append("zero_grad")

    def backward(self, loss, optimizer, optimizer_idx):
        (loss * 2).backward()

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_idx, optimizer_closure, **kwargs):
        self.called.append(f"step {batch_idx}")
        optimizer.step(closure=optimizer_closure)

    def configure_gradient_clipping(self, optimizer, optimizer_idx, gradient_clip_val, gradient_clip_algorithm):
        self.clip_gradients(optimizer, 0.1)

    def training_epoch_end(self, outputs):
        self.called.append(len(outputs))
        self.log("last", outputs[-1]["loss"])


CASES = {
    "plain": (Net, {}),
    "a short last window": (Net, {"accumulate_grad_batches": 2}),
    "clipped": (Net, {"gradient_clip_val": 0.1, "accumulate_grad_batches": 3}),
    "clipped by value": (Net, {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"}),
    "bf16": (Net, {"precision": "bf16"}),
    "16": (Net, {"precision": 16, "accumulate_grad_batches": 2}),
    "64": (Net, {"precision": 64}),
    "schedulers": (Scheduled, {"accumulate_grad_batches": 2}),
    "plateau": (Plateau, {}),
    "plateau by step": (PlateauByStep, {}),
    "two optimizers": (Two, {}),
    "two optimizers, accumulating": (Two, {"accumulate_grad_batches": 2, "gradient_clip_val": 0.1}),
    "pieces": (Sequence, {}),
    "pieces, accumulating": (Sequence, {"accumulate_grad_batches": 2}),
    "by hand": (ByHand, {}),
    "by hand, 16": (ByHand, {"precision": 16}),
    "LBFGS": (Searching, {"accumulate_grad_batches": 2}),
    "hooks": (Hooked, {"accumulate_grad_batches": 2, "gradient_clip_val": 0.5}),
}
EPOCHS = 3


@pytest.fixture(params=CASES)
def case(request):
    kind, flags = CASES[request.param]
    pl.seed_everything(3)
    shape = (4, 7, 3) if kind is Sequence else (4, 3)
    batches = [(torch.randn(shape), torch.randn((*shape[:-1], 1))) for _ in range(5)]
    return kind(), flags, batches


def fitted(module, flags, batches, epochs=EPOCHS, **more):
    """A copy of the module after Trainer.fit, and its Trainer."""
    module = copy.deepcopy(module)
    trainer = pl.Trainer(max_epochs=epochs, **QUIET, **flags)
    pl.seed_everything(5)
    trainer.fit(module, batches, **more)
    return module, trainer


def by_hand(step, state, batches, epochs=EPOCHS):
    for _ in range(epochs):
        for i, batch in enumerate(batches):
            state, _ = step.step(state, batch, last=i == len(batches) - 1)
    return state


def of(value):
    """A value made of plain ones, to be compared."""
    if isinstance(value, torch.Tensor):
        return value.tolist(), str(value.dtype)
    if isinstance(value, dict):
        return {key: of(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [of(item) for item in value]
    return value


def everything(module, optimizers):
    return of([module.state_dict(), [optimizer.state_dict() for optimizer in optimizers]])


def of_state(state):
    return everything(state.params, [player.opt for player in state.players])


def of_trainer(module, trainer):
    return everything(module, inside.optimizers(trainer))


@pytest.mark.parametrize("donate", [True, False])
def test_folding_the_step_over_the_batches_is_what_fit_does(case, donate):
    module, flags, batches = case
    trained, trainer = fitted(module, flags, batches)
    step = functional(module, donate=donate, **flags)
    state = by_hand(step, step.init(seed=5), batches)
    assert of_state(state) == of_trainer(trained, trainer)
    assert state.clock == inside.clock(trainer)
    assert getattr(state.params, "called", None) == getattr(trained, "called", None)


def test_an_epoch_gives_the_metrics_that_fit_gives(case):
    module, flags, batches = case
    trained, trainer = fitted(module, flags, batches)
    step = functional(module, **flags)
    state = step.init(seed=5)
    for _ in range(EPOCHS):
        state, report = step.epoch(state, batches)
    assert of_state(state) == of_trainer(trained, trainer)
    metrics = {name: float(value) for name, value in report.metrics.items()}
    assert metrics
    assert metrics == {name: float(trainer.callback_metrics[name]) for name in metrics}


def test_a_loader_without_a_length_ends_an_epoch_too(case):
    module, flags, batches = case
    step = functional(module, **flags)
    known, unknown = step.init(seed=5), step.init(seed=5)
    for _ in range(2):
        known, _ = step.epoch(known, batches)
        unknown, _ = step.epoch(unknown, (batch for batch in batches))
    assert of_state(known) == of_state(unknown)


def test_an_old_state_stays_and_the_same_call_twice_gives_the_same_bits(case):
    module, flags, batches = case
    step = functional(module, donate=False, **flags)
    state = step.init(seed=5)
    for batch in batches[:3]:
        before = of_state(state)
        new, first = step.step(state, batch)
        again, second = step.step(state, batch)
        assert of_state(state) == before
        assert of_state(new) == of_state(again)
        assert of([first.logged, first.rates]) == of([second.logged, second.rates])
        state = new


def test_nothing_global_moves_and_the_module_is_not_written(case):
    module, flags, batches = case
    before = of(module.state_dict())
    attributes = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    step = functional(module, **flags)
    state, _ = step.epoch(step.init(seed=1), batches)
    if hasattr(module, "validation_step") and not isinstance(module, Sequence):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            step.evaluate(state, batches)
            step.step(state, batches[0])
            assert (torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")) == (False, True)
    assert of(module.state_dict()) == before
    assert {name: value for name, value in vars(module).items() if not name.startswith("_")} == attributes
    assert module.trainer is None
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[1:]
    assert torch.is_grad_enabled()


def test_evaluating_is_what_validate_and_test_do(case):
    module, flags, batches = case
    if isinstance(module, Sequence):
        pytest.skip("it has no validation_step")
    trained, trainer = fitted(module, flags, batches)
    step = functional(module, **flags)
    state = by_hand(step, step.init(seed=5), batches)
    before = of_state(state)
    assert step.evaluate(state, batches) == trainer.validate(trained, batches, verbose=False)[0]
    assert step.evaluate(state, batches, "test") == trainer.test(trained, batches, ckpt_path=None, verbose=False)[0]
    assert of_state(state) == before


class SavesAt(pl.Callback):
    def __init__(self, path, batch):
        self.path, self.batch = path, batch

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (1, self.batch):
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("at", [0, 2, 4])
def test_a_checkpoint_of_the_trainer_continues_in_the_function(case, at, tmp_path):
    module, flags, batches = case
    path = tmp_path / "mid.ckpt"
    trained, trainer = fitted(module, {**flags, "callbacks": [SavesAt(path, at)]}, batches)
    step = functional(module, donate=False, **flags)
    state = load_state(path, step)
    state, _ = step.epoch(state, batches[at + 1 :])
    state, _ = step.epoch(state, batches)
    assert of_state(state) == of_trainer(trained, trainer)


def test_a_state_of_the_end_of_a_fit_is_loaded(case, tmp_path):
    module, flags, batches = case
    path = tmp_path / "end.ckpt"
    _, trainer = fitted(module, flags, batches, epochs=2)
    trainer.save_checkpoint(path)
    trained, trainer = fitted(module, flags, batches)
    step = functional(module, **flags)
    state, _ = step.epoch(load_state(path, step), batches)
    assert of_state(state) == of_trainer(trained, trainer)


def test_the_report_tells_loss_norm_rates_and_what_was_logged():
    step = functional(Scheduled(), accumulate_grad_batches=2, gradient_clip_val=1.0)
    state = step.init(seed=0)
    batch = torch.randn(4, 3), torch.randn(4, 1)
    state, first = step.step(state, batch)
    assert (first.closed, first.updates) == (False, (None,))
    assert list(first.logged) == ["train_loss"]
    with pytest.raises(ConfigurationError, match="its window is open still"):
        _ = first.loss
    state, second = step.step(state, batch)
    assert second.closed
    assert second.loss == (first.logged["train_loss"] + second.logged["train_loss"]) / 2
    assert (float(second.weight), second.finite, float(second.norm) > 0) == (2.0, True, True)
    assert second.rates == {"lr-Adam": 0.01}


def test_a_batch_in_pieces_reports_each_update():
    step = functional(Sequence())
    _, report = step.step(step.init(seed=0), (torch.randn(4, 7, 3), torch.randn(4, 7, 1)))
    assert report.loss.shape == (4,)
    assert report.rates["lr-Adam"].tolist() == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3])


def test_a_state_that_was_moved_is_an_error_that_says_what_to_do():
    step = functional(Net())
    old = step.init(seed=0)
    batch = torch.randn(4, 3), torch.randn(4, 1)
    step.step(old, batch)
    with pytest.raises(ConfigurationError, match=r"was moved to .*update=1.*donate=False"):
        step.step(old, batch)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"log_every_n_steps": 3}, "log_every_n_steps=3.*says nothing of a single step"),
        ({"logger": False}, "logger=False"),
        ({"accumulate_grad_batchs": 2}, "accumulate_grad_batchs=2.*unknown flag.*accumulate_grad_batches"),
        ({"precision": 8}, "precision"),
    ],
)
def test_a_flag_that_is_no_steps_is_an_error(flags, message):
    with pytest.raises(ConfigurationError, match=message):
        functional(Net(), **flags)


def test_a_state_is_not_copied_by_deepcopy():
    with pytest.raises(ConfigurationError, match="deepcopy"):
        copy.deepcopy(functional(Net()).init())


def test_a_module_that_keeps_what_it_has_computed_is_copied():
    class Keeps(Net):
        def training_step(self, batch, batch_idx):
            self.seen = [self.net(batch[0])]
            return self.seen[0].square().mean()

    step = functional(Keeps(), donate=False)
    state, _ = step.step(step.init(seed=0), (torch.randn(4, 3), None))
    new, _ = step.step(state, (torch.randn(4, 3), None))
    assert new.params.seen[0] is not state.params.seen[0]


def test_a_module_may_ask_its_trainer_for_what_a_trainer_tells():
    class Asks(Net):
        def training_step(self, batch, batch_idx):
            self.told = self.trainer.current_epoch, self.global_step, self.trainer.gradient_clip_val
            return super().training_step(batch, batch_idx)

    step = functional(Asks(), gradient_clip_val=2.0)
    batch = torch.randn(4, 3), torch.randn(4, 1)
    state, _ = step.epoch(step.init(), [batch, batch])
    state, _ = step.step(state, batch)
    assert state.params.told == (1, 2, 2.0)


@pytest.mark.parametrize("at", [0, 2])
def test_a_state_made_by_hand_goes_into_fit(case, at):
    module, flags, batches = case
    trained, trainer = fitted(module, flags, batches)
    step = functional(module, donate=False, **flags)
    state, _ = step.epoch(step.init(seed=5), batches)
    for batch in batches[:at]:
        state, _ = step.step(state, batch)
    before = of_state(state)
    # What was called before stays with the state: hooks of the module are not its weights.
    again, second = fitted(module, flags, batches, state=state)
    assert of_trainer(again, second) == of_trainer(trained, trainer)
    assert of_state(state) == before


def test_optimizers_that_are_configured_by_the_trainers_limits():
    """`self.trainer.max_epochs` is that of the flags, and ends no step."""

    class Cosine(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.w = torch.nn.Parameter(torch.zeros(2))

        def training_step(self, batch, batch_idx):
            return (self.w - batch).square().sum()

        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
            return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.trainer.max_epochs)]

    batches = [torch.full((2,), float(n)) for n in range(3)]
    fitted = Cosine()
    flags = {"logger": False, "checkpoint_callback": False, "weights_summary": None}
    pl.Trainer(max_epochs=3, progress_bar_refresh_rate=0, **flags).fit(fitted, batches)
    step = pl.functional(Cosine(), max_epochs=3)
    state = step.init()
    for _ in range(3):
        state, _ = step.epoch(state, batches)
    assert torch.equal(state.params.w, fitted.w)
    state, report = step.epoch(state, batches)
    assert len(report.steps) == 3
    assert int(state.clock.epoch) == 4
