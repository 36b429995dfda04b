"""A kind of state that functrain_jax has never heard of: a class of the test's own that holds numpy arrays. Its
binding is all that training, saving and continuing need."""

import numpy as np
import optax
import pytest

import functrain_jax as ft
from functrain_jax.binding import Binding, Mode, composite, register
from tests import inside
from tests.adapters.jax.common import Batches, bits, cross_entropy, everything, same, trainer


class Ledger:
    """Weights of numpy, and how often they were used."""

    def __init__(self, **weights):
        self.weights = {name: np.asarray(value, np.float32) for name, value in weights.items()}
        self.used = np.zeros((), np.int32)
        self.evaluates = False

    def __call__(self, x):
        if not self.evaluates:
            self.used = self.used + 1
        return x @ self.weights["w"] + self.weights["b"]


class LedgerBinding(Binding):
    @classmethod
    def claims(cls, name, value):
        return isinstance(value, Ledger)

    def split(self, held):
        params = {name: dict(ledger.weights) for name, ledger in held.items()}
        return params, {name: {"used": ledger.used} for name, ledger in held.items()}

    def joined(self, params, vars_, dtype):
        return {name: self.of(params[name], vars_[name], vars(self.module)[name].evaluates) for name in self.names}

    def publish(self, params, vars_):
        for name, ledger in self.held().items():
            ledger.weights, ledger.used = dict(params[name]), vars_[name]["used"]

    @staticmethod
    def of(weights, used, evaluates):
        ledger = Ledger()
        ledger.weights, ledger.used, ledger.evaluates = dict(weights), used["used"], evaluates
        return ledger

    def set_mode(self, training):
        for ledger in self.held().values():
            ledger.evaluates = not training

    def modes(self):
        return [Mode(name, ledger, "evaluates", ledger.evaluates) for name, ledger in self.held().items()]

    def structure(self):
        return tuple(ledger.evaluates for ledger in self.held().values())


class OfLedgers(ft.Module):
    """Beside a tree of the plain kind, so that two kinds compose."""

    def __init__(self):
        self.net = Ledger(w=0.1 * np.ones((6, 3)), b=np.zeros(3))
        self.params = {"shift": np.zeros(3, np.float32)}

    def training_step(self, batch, batch_idx):
        loss = cross_entropy(self.net(batch[0]) + self.params["shift"], batch[1])
        self.log("loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", cross_entropy(self.net(batch[0]) + self.params["shift"], batch[1]))

    def configure_optimizers(self):
        return optax.adam(1e-2)


class AsTree(OfLedgers):
    """The same model, all of it in `self.params`."""

    def __init__(self):
        self.params = {"w": 0.1 * np.ones((6, 3), np.float32), "b": np.zeros(3, np.float32), "shift": np.zeros(3)}

    def net(self, x):
        return x @ self.params["w"] + self.params["b"]


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setattr(composite, "_kinds", list(composite._kinds))
    register(LedgerBinding)


def test_objects_of_an_own_kind_train_as_a_tree_of_the_same_arrays_does():
    run = trainer(max_epochs=2)
    run.fit(module := OfLedgers(), Batches(), Batches())
    run_of_tree = trainer(max_epochs=2)
    run_of_tree.fit(tree := AsTree(), Batches(), Batches())
    own = {**module.net.weights, "shift": module.params["shift"]}
    same(bits(own), bits(tree.params))
    assert run.callback_metrics["val_loss"] == run_of_tree.callback_metrics["val_loss"]
    assert int(module.net.used) == 24, "a batch counts once, and none of a validation"
    assert not module.net.evaluates


def test_a_run_of_an_own_kind_is_saved_by_name_and_continued_to_the_bit(tmp_path):
    ft.seed_everything(1)
    whole = trainer(tmp_path, max_epochs=3)
    whole.fit(OfLedgers(), Batches())
    ft.seed_everything(1)
    first = trainer(tmp_path, max_epochs=1)
    first.fit(OfLedgers(), Batches())
    first.save_checkpoint(path := str(tmp_path / "first.ckpt"))
    names = {"net.w", "net.b", "net.used", "params.shift"}
    assert set(inside.read(path)["state_dict"]) == names
    again = trainer(tmp_path, max_epochs=3)
    again.fit(OfLedgers(), Batches(), ckpt_path=path)
    same(everything(again), everything(whole))


def test_what_a_hook_puts_into_an_object_of_an_own_kind_is_trained_on():
    class Resets(OfLedgers):
        def on_train_epoch_start(self):
            if self.current_epoch == 1:
                self.net.weights["b"] = np.full(3, 7, np.float32)

        def configure_optimizers(self):
            return {"net": optax.sgd(0.0), "params": optax.sgd(0.1)}

    module = Resets()
    trainer(max_epochs=2).fit(module, Batches())
    np.testing.assert_array_equal(module.net.weights["b"], 7.0)


def test_a_part_of_an_own_kind_without_an_optimizer_stays_as_it_is():
    class Frozen(OfLedgers):
        def configure_optimizers(self):
            return {"net": None, "params": optax.sgd(0.1)}

    module = Frozen()
    trainer(max_epochs=1).fit(module, Batches())
    np.testing.assert_array_equal(module.net.weights["w"], np.full((6, 3), 0.1, np.float32))
    assert int(module.net.used) == 12
    assert np.abs(module.params["shift"]).sum() > 0
