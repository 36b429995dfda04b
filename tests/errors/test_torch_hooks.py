"""torch: errors in hooks and in runs: who is told, what is closed, and what can be used afterwards."""

from __future__ import annotations

import os
import signal

import pytest
import torch

import functrain_torch as pl
from functrain.callbacks import EarlyStopping, ModelCheckpoint
from functrain.loggers.base import Logger
from tests.errors.torch_parts import Net, Validated, fit, loader, net, trainer


class Told(pl.Callback):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def on_exception(self, trainer, pl_module, exception):
        self.calls.append(f"on_exception {type(exception).__name__}")

    def on_keyboard_interrupt(self, trainer, pl_module):
        self.calls.append("on_keyboard_interrupt")

    def on_train_end(self, trainer, pl_module):
        self.calls.append("on_train_end")

    def teardown(self, trainer, pl_module, stage):
        self.calls.append(f"teardown {stage}")


class Closing(Logger):
    name, version = "closing", 0  # type: ignore[assignment]

    def __init__(self) -> None:
        self.calls: list[str] = []

    def log_metrics(self, metrics, step=None):
        pass

    def log_hyperparams(self, params, metrics=None):
        pass

    def finalize(self, status):
        self.calls.append(status)


class Mine(Exception):
    pass


HOOKS = [
    "prepare_data", "configure_callbacks", "on_fit_start", "setup", "configure_optimizers", "on_pretrain_routine_end",
    "on_train_start", "on_train_epoch_start", "on_train_batch_start", "on_before_batch_transfer", "on_before_backward",
    "on_before_optimizer_step", "on_train_batch_end", "on_validation_start", "validation_step", "validation_epoch_end",
    "on_validation_end", "training_epoch_end", "on_train_epoch_end", "on_train_end", "on_fit_end", "teardown",
    "on_save_checkpoint",
]  # fmt: skip


@pytest.mark.parametrize("hook", HOOKS)
def test_in_a_hook(hook, tmp_path):
    def failing(self, *args):
        raise Mine(hook)

    module, told, log = net(Validated, **{hook: failing}), Told(), Closing()
    save = ModelCheckpoint(tmp_path)
    made = trainer(callbacks=[told, save], logger=log, num_sanity_val_steps=0)
    with pytest.raises(Mine, match=hook):
        made.fit(module, loader(), loader())
    assert "on_exception Mine" in told.calls
    assert "teardown fit" in told.calls
    assert log.calls == ["failed"]
    assert_usable(module, made, hook, tmp_path)


def assert_usable(module, made, hook, tmp_path):
    """The module trains elsewhere, and the Trainer runs again."""
    assert torch.is_grad_enabled()
    assert module.training
    with pytest.warns(UserWarning, match="no Trainer is running"):
        module.log("nothing", 1.0)
    setattr(type(module), hook, getattr(Validated, hook))
    if hook == "configure_callbacks":
        del type(module).configure_callbacks
    made.fit(module, loader(), loader())
    assert made.current_epoch == 2
    assert made.validate(module, loader(), verbose=False)[0]["val_loss"] > 0


def test_an_error_while_the_error_is_told():
    """The first one is raised; the others are noted with it, and everything is closed."""

    class Worse(Told):
        def on_exception(self, trainer, pl_module, exception):
            raise KeyError("in on_exception")

        def teardown(self, trainer, pl_module, stage):
            raise IndexError("in teardown")

    def step(self, batch, batch_idx):
        raise Mine("first")

    log = Closing()
    with pytest.raises(Mine, match="first") as error:
        fit(net(training_step=step), callbacks=[Worse()], logger=log, checkpoint_callback=False)
    notes = " ".join(error.value.__notes__)
    assert "(after it there was a KeyError too: 'in on_exception')" in notes
    assert "(after it there was a IndexError too: in teardown)" in notes
    assert log.calls == ["failed"]


def test_in_a_sanity_check(tmp_path):
    class Failing(Validated):
        fails = True

        def validation_step(self, batch, batch_idx):
            if self.fails:
                raise Mine
            return super().validation_step(batch, batch_idx)

    module, made = Failing(), trainer()
    with pytest.raises(Mine):
        made.fit(module, loader(), loader())
    assert not made.sanity_checking
    assert module.training
    module.fails = False
    made.fit(module, loader(), loader())
    assert made.current_epoch == 2


def test_frozen_for_an_optimizer_that_never_came_back():
    """An error between toggle and untoggle leaves no parameter frozen."""

    class Toggling(Net):
        automatic_optimization = False

        def __init__(self):
            super().__init__()
            self.other = torch.nn.Linear(3, 3)

        def training_step(self, batch, batch_idx):
            self.toggle_optimizer(self.optimizers()[0])
            raise Mine

        def configure_optimizers(self):
            return [torch.optim.SGD(part.parameters(), lr=0.1) for part in (self.layer, self.other)]

    module = Toggling()
    with pytest.raises(Mine):
        fit(module)
    assert all(p.requires_grad for p in module.parameters())


# runs within runs, again and in another order


def test_fit_twice():
    """The second one trains the same module on, from epoch 0."""
    made, module = trainer(), Net()
    made.fit(module, loader())
    first = module.layer.weight.clone()
    made.fit(module, loader())
    assert (made.current_epoch, made.global_step) == (2, 6)
    assert not torch.equal(first, module.layer.weight)
    other = Net()
    made.fit(other, loader())
    assert made.global_step == 6
    assert other.trainer is made


@pytest.mark.parametrize("stage", ["fit", "validate", "test"])
def test_a_run_within_a_run(stage):
    def hook(self):
        getattr(self.trainer, stage)(self, loader())

    with pytest.raises(
        pl.ConfigurationError, match=rf"trainer\.{stage}\(\) was called while trainer\.fit\(\) of the same"
    ):
        fit(net(Validated, on_train_epoch_end=hook))


def test_validate_before_fit():
    made, module = trainer(), Validated()
    assert made.validate(module, loader(), verbose=False)[0]["val_loss"] > 0
    made.fit(module, loader(), loader())
    assert made.global_step == 6


# what nobody logs


def test_a_monitor_that_nobody_logs(tmp_path):
    with pytest.raises(pl.ConfigurationError, match=r"EarlyStopping\(monitor='val_los'\).*Did you mean 'val_loss'"):
        fit(Validated(), val=loader(), callbacks=[EarlyStopping("val_los")], checkpoint_callback=False)
    save = ModelCheckpoint(tmp_path, monitor="val_acc")
    with pytest.raises(pl.ConfigurationError, match=r"ModelCheckpoint\(monitor='val_acc'\).*nobody logs.*is saved in"):
        fit(Validated(), val=loader(), callbacks=[save])
    assert len(os.listdir(tmp_path)) == 1, "nothing is lost: the state of the moment was saved"


# Ctrl-C


def press(self, batch, batch_idx):
    if self.global_step == 1:
        os.kill(os.getpid(), signal.SIGINT)
    return Net.training_step(self, batch, batch_idx)


@pytest.fixture
def _default_handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_default_handler")
def test_ctrl_c():
    """The batch is finished, the hooks of the end run, and fit returns."""
    told = Told()
    made = fit(net(training_step=press), callbacks=[told], checkpoint_callback=False)
    assert made.interrupted
    assert made.global_step == 2
    assert told.calls == ["on_keyboard_interrupt", "on_train_end", "teardown fit"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    made.fit(Net(), loader())
    assert not made.interrupted
    assert made.global_step == 6


@pytest.mark.usefixtures("_default_handler")
def test_ctrl_c_twice():
    """The second one ends the run where it stands."""
    here = []

    def step(self, batch, batch_idx):
        os.kill(os.getpid(), signal.SIGINT)
        here.append("once")
        os.kill(os.getpid(), signal.SIGINT)
        here.append("never")

    told, log = Told(), Closing()
    made = fit(net(training_step=step), callbacks=[told], logger=log, checkpoint_callback=False)
    assert made.interrupted
    assert here == ["once"]
    assert told.calls == ["on_keyboard_interrupt", "on_train_end", "teardown fit"]
    assert log.calls == ["interrupted"]


@pytest.mark.usefixtures("_default_handler")
@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_ctrl_c_in_an_evaluation(stage):
    seen = []

    def step(self, batch, batch_idx):
        seen.append(batch_idx)
        os.kill(os.getpid(), signal.SIGINT)

    made = trainer()
    name = {"validate": "validation_step"}.get(stage, f"{stage}_step")
    result = getattr(made, stage)(net(**{name: step}), loader())
    assert made.interrupted
    assert seen == [0]
    assert result in ([], [{}])
