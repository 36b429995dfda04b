"""Whoever is called between dispatches may read the module's weights, however many batches a dispatch has taken."""

import numpy as np
import pytest

import functrain_jax as ft
from functrain.callbacks import ModelCheckpoint
from tests.one_weight import JaxWeight

BATCHES = [np.zeros(2, np.float32)] * 6


class Net(JaxWeight):
    def __init__(self):
        super().__init__()
        self.seen = []

    def look(self):
        self.seen.append((self.trainer.global_step, float(self.weight())))

    def training_step(self, batch, batch_idx):
        self.log("w", self.weight())
        return (self.weight() - 1.0) ** 2


class Saves(Net):
    def on_save_checkpoint(self, checkpoint):
        self.look()


class Looks(ft.Callback):
    def log_step(self, trainer, module, metrics):
        module.look()


def weight_after(updates):
    return pytest.approx(1 - 0.8**updates, rel=1e-5)


def fit(module, **flags):
    quiet = {"logger": False, "progress_bar_refresh_rate": 0, "weights_summary": None}
    ft.Trainer(max_epochs=1, **quiet, **flags).fit(module, BATCHES)
    return module.seen


def test_a_hook_of_a_save_within_an_epoch_sees_the_weights_of_its_update(tmp_path):
    callback = ModelCheckpoint(dirpath=tmp_path, every_n_train_steps=2, save_top_k=-1)
    assert fit(Saves(), callbacks=[callback]) == [(n, weight_after(n)) for n in (2, 4, 6)]


def test_a_callback_that_gets_step_metrics_sees_the_weights_of_its_update():
    seen = fit(Net(), callbacks=[Looks()], log_every_n_steps=3, checkpoint_callback=False)
    assert seen == [(n, weight_after(n)) for n in (3, 6)]
