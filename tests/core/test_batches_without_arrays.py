"""Batches that hold no array: a step may make its own data. They train, validate and predict, and an epoch's mean says
that it does not know their sizes."""

import warnings

import pytest

import functrain_jax as ft
import functrain_torch as pl
from functrain.callbacks import LambdaCallback
from tests.one_weight import JaxWeight, TorchWeight

QUIET = {"logger": False, "checkpoint_callback": False, "progress_bar_refresh_rate": 0, "weights_summary": None}


class Steps:
    def training_step(self, batch, batch_idx):
        self.log("loss", (self.weight() - 1) ** 2, on_step=False, on_epoch=True)
        return (self.weight() - 1) ** 2

    def validation_step(self, batch, batch_idx):
        self.log("v", 2.0)

    def predict_step(self, batch, batch_idx):
        return self.weight() * 2


class Torch(Steps, TorchWeight):
    pass


class Jax(Steps, JaxWeight):
    pass


WORLDS = {"torch": (pl, Torch), "jax": (ft, Jax)}
EMPTY = {"None": (None, "NoneType"), "dict": ({}, "dict"), "tuple": ((), "tuple"), "number": (3, "int|number")}


@pytest.mark.parametrize("batch", EMPTY)
@pytest.mark.parametrize("world", WORLDS)
def test_an_epoch_mean_over_batches_without_samples_is_told_once(world, batch):
    (package, module), (given, name) = WORLDS[world], EMPTY[batch]
    run, model = package.Trainer(max_epochs=1, **QUIET), module()
    with pytest.warns(UserWarning, match=f"a batch of type ({name}) has no tensor.*pass batch_size=") as told:
        run.fit(model, [given] * 3, [given] * 2)
    assert len([w for w in told if "batch_size=" in str(w.message)]) == 1
    assert float(run.callback_metrics["v"]) == 2.0
    assert len(run.predict(model, [given] * 2)) == 2


@pytest.mark.parametrize("world", WORLDS)
def test_a_hook_that_logs_between_batches_is_told_nothing(world):
    package, module = WORLDS[world]
    quiet = type("Quiet", (module,), {"training_step": lambda self, batch, batch_idx: self.weight() ** 2})
    ends = LambdaCallback(on_train_epoch_end=lambda trainer, module: module.log("hook", 1.0, on_epoch=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        package.Trainer(max_epochs=1, callbacks=[ends], limit_val_batches=0, **QUIET).fit(quiet(), [None])
