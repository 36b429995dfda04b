"""Another Trainer that runs the module in a hook of a fit: the fit goes on as if there had been none."""

import jax.numpy as jnp
import pytest
import torch
from torchmetrics import SumMetric

import functrain_jax as ft
import functrain_torch as pl
from functrain.callbacks import LambdaCallback
from tests.one_weight import JaxWeight, TorchWeight

QUIET = {"logger": False, "checkpoint_callback": False, "progress_bar_refresh_rate": 0, "weights_summary": None}


class Steps:
    def training_step(self, batch, batch_idx):
        self.log("loss", (self.weight() - 1) ** 2)
        return ((self.weight() - 1) ** 2 + 0 * batch).mean()

    def validation_step(self, batch, batch_idx):
        self.log("val", self.weight())


class Part(pl.LightningModule):
    """A module within the module, which logs too."""

    def forward(self, x):
        self.log("part", 1.0)
        return x


class Torch(Steps, TorchWeight):
    def __init__(self):
        super().__init__()
        self.part = Part()

    def weight(self):
        return self.part(self.w)


class Jax(Steps, JaxWeight):
    pass


WORLDS = {"torch": (pl, Torch, torch.zeros), "jax": (ft, Jax, jnp.zeros)}


@pytest.mark.parametrize("hook", ["on_train_epoch_start", "on_validation_epoch_start"])
@pytest.mark.parametrize("world", WORLDS)
def test_a_fit_logs_on_after_another_trainer_has_validated_its_module_in_a_hook(world, hook):
    package, module, zeros = WORLDS[world]
    batches, seen = [zeros(2)] * 3, []

    def validate(trainer, model):
        inner = package.Trainer(**QUIET)
        seen.append(inner.validate(model, batches, verbose=False)[0]["val"])
        assert model.trainer is trainer

    def fitted(*callbacks):
        run = package.Trainer(max_epochs=2, num_sanity_val_steps=0, callbacks=list(callbacks), **QUIET)
        run.fit(module(), batches, batches)
        return {name: float(value) for name, value in run.callback_metrics.items()}

    assert fitted(LambdaCallback(**{hook: validate})) == fitted()
    assert len(seen) == 2
    assert torch.is_grad_enabled()


class Sum:
    """A metric object of nobody's library."""

    def __init__(self):
        self.seen = []

    def update(self, value):
        self.seen.append(value)

    def compute(self):
        return sum(self.seen)

    def reset(self):
        self.seen.clear()


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize(("hook", "stage"), [("on_train_batch_end", "fit"), ("on_validation_batch_end", "validate")])
@pytest.mark.parametrize("owned", [True, False], ids=["of the module", "of nobody"])
def test_another_trainer_in_a_hook_does_not_empty_the_metric_objects_that_a_fit_has_logged(world, hook, stage, owned):
    package, module, zeros = WORLDS[world]
    batches = [zeros(2)] * 4
    model = module()
    total = SumMetric() if world == "torch" else Sum()
    if owned:
        model.total = total

    def at_a_batch(trainer, model, outputs, batch, batch_idx, *loader):
        total.update(1.0)
        model.log("total", total, on_step=False, on_epoch=True)
        if batch_idx == 1:
            inner = package.Trainer(max_epochs=1, num_sanity_val_steps=0, **QUIET)
            loaders = (batches,) if stage == "validate" else (batches, batches)
            getattr(inner, stage)(model, *loaders)

    callback = LambdaCallback(**{hook: at_a_batch})
    run = package.Trainer(max_epochs=1, num_sanity_val_steps=0, callbacks=[callback], **QUIET)
    run.fit(model, batches, batches)
    assert float(run.callback_metrics["total"]) == 4


def test_a_run_within_an_evaluation_leaves_its_gradients_off():
    found = []

    class Looks(Torch):
        def validation_step(self, batch, batch_idx):
            found.append(torch.is_grad_enabled())
            super().validation_step(batch, batch_idx)

    def validate(trainer, model):
        pl.Trainer(**QUIET).validate(model, [torch.zeros(2)], verbose=False)

    inner = LambdaCallback(on_validation_epoch_start=validate)
    pl.Trainer(callbacks=[inner], **QUIET).validate(Looks(), [torch.zeros(2)], verbose=False)
    assert found == [False, False]
    assert torch.is_grad_enabled()
