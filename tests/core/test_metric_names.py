"""Names of metrics: what cannot be one, and what is written under those that loggers use too; in both worlds."""

import csv

import jax.numpy as jnp
import pytest
import torch

import functrain_jax as ft
import functrain_torch as pl
from functrain.loggers import CSVLogger
from tests.one_weight import JaxWeight, TorchWeight

QUIET = {"checkpoint_callback": False, "progress_bar_refresh_rate": 0, "weights_summary": None}


class Logs:
    name = "loss"

    def training_step(self, batch, batch_idx):
        self.log(self.name, self.weight() + 7.0)
        return (self.weight() - batch[0]) ** 2


class Torch(Logs, TorchWeight):
    rate = 0.0


class Jax(Logs, JaxWeight):
    rate = 0.0


WORLDS = {"torch": (pl, Torch, torch.zeros), "jax": (ft, Jax, jnp.zeros)}


def fit(world, name, logger=False):
    package, module, zeros = WORLDS[world]
    model = module()
    model.name = name
    package.Trainer(max_epochs=1, log_every_n_steps=1, logger=logger, **QUIET).fit(model, [zeros(2)] * 2)


@pytest.mark.parametrize("name", [3, None, "", b"loss", ("loss",)])
@pytest.mark.parametrize("world", WORLDS)
def test_what_is_no_name_says_so(world, name):
    with pytest.raises(TypeError, match=r"self\.log\(.*: the name must be a non-empty str"):
        fit(world, name)


@pytest.mark.parametrize("world", WORLDS)
def test_a_value_that_a_user_logs_as_epoch_is_the_one_that_is_written(world, tmp_path):
    logger = CSVLogger(tmp_path)
    fit(world, "epoch", logger)
    with open(f"{logger.log_dir}/metrics.csv", newline="") as file:
        assert [float(row["epoch"]) for row in csv.DictReader(file)] == [7.0, 7.0]
