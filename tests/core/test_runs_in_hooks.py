"""Another Trainer that runs the module in a hook of a fit: the fit goes on as if there had been none."""

import jax.numpy as jnp
import pytest
import torch

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
