"""The same callbacks under JAX: nothing in them knows the framework, and dispatches stay long."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functrain_jax as ft
from functrain.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint, ModelSummary, TQDMProgressBar
from functrain.loggers import CSVLogger
from tests import inside
from tests.callbacks.helpers import names

BATCHES = 6


class Line(ft.Module):
    """One weight on its way to 2; the validation loss falls until then."""

    def __init__(self):
        self.params = {"w": jnp.zeros(1)}

    def training_step(self, batch, batch_idx):
        loss = ((self.params["w"] - batch) ** 2).mean()
        self.log("train_loss", loss, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", ((self.params["w"] - batch) ** 2).mean())

    def configure_optimizers(self):
        return optax.sgd(0.05)


class Loader:
    def __iter__(self):
        return iter([np.full((1,), 2.0, np.float32)] * BATCHES)

    def __len__(self):
        return BATCHES


def run(tmp_path, epochs, *callbacks, ckpt_path=None, **flags):
    quiet = {"num_sanity_val_steps": 0, "logger": CSVLogger(str(tmp_path), name="logs")}
    trainer = ft.Trainer(max_epochs=epochs, callbacks=list(callbacks), default_root_dir=str(tmp_path), **quiet, **flags)
    module = Line()
    trainer.fit(module, Loader(), Loader(), ckpt_path=ckpt_path)
    return trainer, module


def test_the_defaults_and_their_dispatches(tmp_path, capsys):
    trainer, _ = run(tmp_path, 2, LearningRateMonitor())
    assert [type(callback) for callback in trainer.callbacks] == [
        LearningRateMonitor,
        TQDMProgressBar,
        ModelSummary,
        ModelCheckpoint,
    ]
    assert not inside.per_batch(trainer)
    assert names(trainer.checkpoint_callback.dirpath) == ["epoch=1-step=12.ckpt"]
    out, err = capsys.readouterr()
    assert "1         Total params" in out
    assert err.startswith("Epoch 0: 6 batches")


@pytest.mark.parametrize("stopped", [1, 2, 3])
def test_a_continued_run_keeps_and_stops_as_the_whole_one(tmp_path, stopped):
    def callbacks(folder):
        save = ModelCheckpoint(tmp_path / folder, "{epoch}", "val_loss", save_top_k=2, save_last=True)
        return EarlyStopping("val_loss", stopping_threshold=1e-2), save

    whole_stop, whole = callbacks("whole")
    trainer, module = run(tmp_path, 50, whole_stop, whole)
    first_stop, first = callbacks("parts")
    run(tmp_path, stopped, first_stop, first)
    second_stop, second = callbacks("parts")
    again, continued = run(tmp_path, 50, second_stop, second, ckpt_path=first.last_model_path)
    assert again.global_step == trainer.global_step < 50 * BATCHES
    assert second_stop.state_dict() == whole_stop.state_dict()
    assert names(tmp_path / "parts") == names(tmp_path / "whole")
    assert list(second.best_k_models.values()) == list(whole.best_k_models.values())
    assert np.array_equal(continued.params["w"], module.params["w"])
