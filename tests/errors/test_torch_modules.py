"""torch: a module that cannot be trained as it is."""

from __future__ import annotations

import re

import pytest
import torch

import functrain_torch as pl
from functrain.trainer.errors import NotFiniteError
from tests.errors.torch_parts import Net, Validated, fit, loader, net, trainer


def raises(what, *said):
    return pytest.raises(what, match=".*".join(said))


def notes(error) -> str:
    return " ".join(getattr(error.value, "__notes__", []))


# what is missing


@pytest.mark.parametrize("method", ["training_step", "configure_optimizers"])
def test_without(method):
    with raises(pl.ConfigurationError, rf"Mine\.{method} is not defined", r"trainer\.fit needs it"):
        fit(net(**{method: getattr(pl.LightningModule, method)}))


def test_without_a_validation_or_test_step():
    with raises(pl.ConfigurationError, r"Net\.validation_step is not defined"):
        trainer().validate(Net(), loader())
    with raises(pl.ConfigurationError, r"Net\.test_step is not defined"):
        trainer().test(Net(), loader())
    with raises(NotImplementedError, "forward"):
        trainer().predict(Net(), loader())


def test_without_super_init():
    with raises(pl.ConfigurationError, r"Mine\.__init__ must call super\(\)\.__init__\(\)"):
        fit(net(__init__=lambda self: None))


@pytest.mark.parametrize("model", [3, torch.nn.Linear(2, 2), loader(), "model"])
def test_no_module(model):
    expected = rf"trainer\.fit\({type(model).__name__}\): not a module of any adapter; subclass .*LightningModule"
    with raises(pl.ConfigurationError, expected):
        trainer().fit(model, loader())


def test_a_class():
    with raises(pl.ConfigurationError, r"trainer\.fit\(Net\): this is a class; give an instance"):
        trainer().fit(Net, loader())


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_before_any_fit(stage):
    with raises(pl.ConfigurationError, rf"trainer\.{stage}\(\): no module was given and none was fitted before"):
        getattr(trainer(), stage)()


def test_save_before_any_fit(tmp_path):
    with raises(pl.ConfigurationError, "nothing was run yet", r"trainer\.fit"):
        trainer().save_checkpoint(tmp_path / "x.ckpt")


# optimizers


def sgd(self):
    return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (lambda self: [], r"returned no optimizer; return one, or set automatic_optimization=False"),
        (lambda self: "adam", r"str is not a torch\.optim\.Optimizer"),
        (lambda self: torch.optim.Adam, r"type is not a torch\.optim\.Optimizer"),
        (lambda self: [sgd(self), 3], r"int is not a torch\.optim\.Optimizer"),
        (lambda self: {"optimiser": sgd(self)}, r"unknown key 'optimiser'; the keys are 'optimizer'"),
        (lambda self: {"lr_scheduler": None}, r"a dict without 'optimizer'"),
        (lambda self: {"optimizer": sgd(self), "lr_scheduler": 3}, r"lr_scheduler holds an int, which has no step\(\)"),
        (
            lambda self: scheduled(self, intervall="step"),
            r"unknown key 'intervall' of lr_scheduler.*Did you mean 'interval'",
        ),
        (lambda self: scheduled(self, interval="batch"), r"interval 'batch' must be 'epoch' or 'step'"),
        (lambda self: scheduled(self, frequency=0), r"lr_scheduler frequency 0 must be an int >= 1"),
        (
            lambda self: torch.optim.SGD(torch.nn.Linear(2, 2).parameters(), lr=0.1),
            r"the optimizer has none of the module's parameters; was it made of a copy\?",
        ),
        (
            lambda self: [{"optimizer": sgd(self), "frequency": 1}, {"optimizer": sgd(self)}],
            r"frequencies \[1, None\]: give 'frequency' for every optimizer or for none",
        ),
    ],
)
def test_configure_optimizers(given, says):
    with raises(pl.ConfigurationError, rf"Mine\.configure_optimizers.*{says}"):
        fit(net(configure_optimizers=given))


def scheduled(self, **more):
    optimizer = sgd(self)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, **more}}


def test_parameters_that_no_optimizer_has():
    def only_weight(self):
        return torch.optim.SGD([self.layer.weight], lr=0.1)

    with pytest.warns(UserWarning, match=r"Mine: no optimizer trains layer\.bias; give .* or set requires_grad=False"):
        fit(net(configure_optimizers=only_weight))
    module = net(configure_optimizers=only_weight)
    module.layer.bias.requires_grad_(False)
    fit(module)


def test_a_plateau_without_its_metric():
    def plateau(self):
        optimizer = sgd(self)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": scheduler, "monitor": "los"}

    with raises(
        pl.ConfigurationError, r"ReduceLROnPlateau\(monitor='los'\): nobody logs this metric; logged are .*Did you mean"
    ):
        fit(net(configure_optimizers=plateau))


# losses


@pytest.mark.parametrize(
    ("step", "kind", "says"),
    [
        (lambda self, batch, i: self.layer(batch[0]), ValueError, r"the loss has shape \(4, 3\); give a scalar"),
        (lambda self, batch, i: self.layer(batch[0]).mean().detach(), ValueError, "does not depend on any parameter"),
        (lambda self, batch, i: torch.tensor(1.0), ValueError, "does not depend on any parameter"),
        (lambda self, batch, i: 1.0, TypeError, "the training step returned a float; return a scalar tensor"),
        (lambda self, batch, i: (1, 2), TypeError, "the training step returned a tuple"),
        (lambda self, batch, i: {"los": 1}, ValueError, r"a dict without 'loss'; it has 'los'"),
    ],
)
def test_losses(step, kind, says):
    with raises(kind, says) as error:
        fit(net(training_step=step))
    assert "in the training loop, epoch 0, batch 0; the batch is a list of Tensor (4, 4), Tensor (4,)" in notes(error)


def test_everything_frozen():
    module = Net()
    module.freeze()
    with raises(ValueError, "does not depend on any parameter", "is every parameter frozen"):
        fit(module)


def test_a_loss_that_is_not_a_number():
    def step(self, batch, i):
        return self.layer(batch[0]).mean() * (float("nan") if i == 1 else 1.0)

    with raises(NotFiniteError, "the loss is nan at epoch 0, batch 1"):
        fit(net(training_step=step), terminate_on_nan=True)
    fit(net(training_step=step))  # nobody asked


def test_a_parameter_that_is_not_a_number():
    def step(self, batch, i):
        return (self.layer.bias * 1e30).sum()

    with raises(NotFiniteError, r"parameter 'layer\.bias' is not finite after epoch 0, batch 0", "lower learning rate"):
        fit(
            net(training_step=step, configure_optimizers=lambda self: torch.optim.SGD(self.parameters(), lr=1e30)),
            terminate_on_nan=True,
        )


def test_an_argument_that_is_not_documented():
    with raises(TypeError, r"Mine\.training_step: argument 'mask' is not one of this hook's \(batch, batch_idx"):
        fit(net(training_step=lambda self, batch, batch_idx, mask: None))


# batches of the wrong form: the user's own traceback, and where it was


def unpacking(self, batch, batch_idx):
    x, _, _ = batch
    return x


def test_a_batch_of_another_form():
    with raises(ValueError, r"not enough values to unpack \(expected 3, got 2\)") as error:
        fit(net(training_step=unpacking))
    assert error.traceback[-1].name == "unpacking"
    assert notes(error) == "(in the training loop, epoch 0, batch 0; the batch is a list of Tensor (4, 4), Tensor (4,))"


def test_a_batch_of_another_form_in_validation():
    with raises(ValueError, "not enough values") as error:
        fit(net(Validated, validation_step=unpacking), val=[loader(), loader()], num_sanity_val_steps=0)
    assert "in the validation loop, loader 0, batch 0; the batch is a list of Tensor (4, 4)" in notes(error)


def test_later_in_the_run():
    def step(self, batch, batch_idx):
        if self.global_step == 4:
            raise KeyError("mine")
        return Net.training_step(self, batch, batch_idx)

    for more in ({}, {"callbacks": [Hooked()]}):
        with raises(KeyError, "mine") as error:
            fit(net(training_step=step), **more)
        assert "epoch 1, batch 1" in notes(error)


class Hooked(pl.Callback):
    """Brings the host in at every batch."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        pass


def test_in_a_data_set():
    class Broken(torch.utils.data.Dataset):
        def __len__(self):
            return 12

        def __getitem__(self, index):
            if index == 9:
                raise OSError("cannot read sample 9")
            return torch.zeros(4), 0

    with raises(OSError, "cannot read sample 9") as error:
        fit(train=torch.utils.data.DataLoader(Broken(), batch_size=4))
    assert notes(error) == "(while the training loader was asked for batch 2 of epoch 0)"


# logging


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("a", torch.ones(3), r"self\.log\('a', \.\.\.\): the value has shape \(3,\); log a scalar"),
        ("a", "x", r"self\.log\('a', 'x'\): log a number, a scalar array or a metric object"),
        ("a", None, r"self\.log\('a', None\): log a number"),
        ("a", [1.0], r"self\.log\('a', \[1\.0\]\): log a number"),
        (3, 1.0, r"self\.log\(3, \.\.\.\): the name must be a non-empty str"),
        ("", 1.0, r"the name must be a non-empty str"),
    ],
)
def test_what_cannot_be_logged(name, value, says):
    def step(self, batch, batch_idx):
        self.log(name, value)
        return self.layer(batch[0]).mean()

    with raises((TypeError, ValueError), says):
        fit(net(training_step=step))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"reduce_fx": "median"}, "must be 'mean', 'sum', 'min' or 'max'"),
        ({"on_step": False, "on_epoch": False}, "nothing would be logged"),
    ],
)
def test_how_it_cannot_be_logged(options, says):
    def step(self, batch, batch_idx):
        self.log("a", 1.0, **options)
        return self.layer(batch[0]).mean()

    with raises(ValueError, re.escape(says)):
        fit(net(training_step=step))
