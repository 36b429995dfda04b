"""Where arrays live is one value of an engine: whoever gives another one decides about every array of a run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from functrain.loggers import CSVLogger
from functrain_jax import placement
from functrain_jax.placement import OneDevice
from tests import inside
from tests.adapters.jax.common import Batches, Classifier, bits, everything, same, trainer


class Watched(OneDevice):
    """Notes what goes through it."""

    def __init__(self, device):
        super().__init__(device)
        self.batches, self.came_back = 0, 0
        self.states, self.given_back = [], []

    def state(self, tree):
        self.states.append(tree)
        return super().state(tree)

    def batch(self, local):
        self.batches += 1
        return super().batch(local)

    def host(self, tree):
        self.came_back += 1
        self.given_back.append(tree)
        return super().host(tree)


@pytest.fixture
def watched(monkeypatch):
    made = []

    def make(flags):
        made.append(Watched(jax.devices()[0]))
        return made[-1]

    monkeypatch.setattr("functrain_jax.engine.placement_of", make)
    return made


def test_state_batches_and_predictions_go_through_the_placement(watched, tmp_path):
    run = trainer(max_epochs=1)
    run.fit(module := Classifier(), Batches())
    (first,) = watched
    assert first.batches >= 2, "the images and the labels"
    assert first.states, "parameters, key, optimizer"
    run.save_checkpoint(str(tmp_path / "a.ckpt"))
    again = trainer(max_epochs=1)
    again.fit(Classifier(seed=1), Batches(), ckpt_path=str(tmp_path / "a.ckpt"))
    same(everything(again), everything(run))
    assert all(isinstance(o, np.ndarray) for o in again.predict(module, Batches()))
    assert watched[-1].came_back == 12


def test_step_metrics_that_a_dispatch_runs_past_come_back_through_the_placement(watched, tmp_path):
    class Stepped(Classifier):
        def training_step(self, batch, batch_idx):
            self.log("slot", batch_idx, on_step=True, on_epoch=False)
            return super().training_step(batch, batch_idx)

    run = trainer(max_epochs=1, log_every_n_steps=1, logger=CSVLogger(str(tmp_path)))
    run.fit(Stepped(), Batches())
    assert any(
        "slot" in str(key) for tree in watched[-1].given_back for key in (tree if isinstance(tree, dict) else ())
    )


def test_one_device_puts_everything_there():
    device = jax.devices()[-1]
    there = OneDevice(device)
    tree = there.state({"w": jnp.ones(3), "n": np.int32(2)})
    arrays = [*jax.tree.leaves(tree), there.batch(np.ones((4, 2))), there.numbers(np.array(3))]
    assert all(x.sharding == there.sharding and x.devices() == {device} for x in arrays)
    assert there.numbers(arrays[0]) is arrays[0]
    same(there.host(tree), bits(tree))
    assert there.platform == "cpu"


def test_the_flags_choose_the_placement():
    run = trainer(max_epochs=1, accelerator="cpu")
    run.fit(Classifier(), Batches())
    assert inside.engine(run).placement.device == jax.devices("cpu")[0]
    assert isinstance(inside.engine(run).placement, type(placement.placement_of(run.flags)))
