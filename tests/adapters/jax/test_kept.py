"""Compiled programs stay with their module, and no program outlives what it was compiled for."""

import copy
import gc
import pickle
import types
import warnings
import weakref
from collections import deque
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import functrain_jax as ft
from functrain.callbacks import LambdaCallback
from functrain.trainer.callback import Callback
from tests import inside
from tests.adapters.jax.common import Batches, Classifier, Plain, X, bits, close, cross_entropy, same, trainer


@pytest.mark.parametrize("flags", [{}, {"accumulate_grad_batches": 3, "gradient_clip_val": 0.1}], ids=str)
def test_a_second_fit_validate_test_and_predict_compile_nothing(compiles, flags):
    module = Classifier()

    def everything():
        run = trainer(max_epochs=1, num_sanity_val_steps=0, **flags)
        run.fit(module, Batches(size=10), Batches())
        run.validate(module, Batches(), verbose=False)
        run.test(module, Batches(), verbose=False)
        run.test(module, Batches(), verbose=False)
        run.predict(module, Batches())

    everything()
    everything()  # the operations of setting up, which belong to no module
    before = compiles()
    everything()
    assert compiles() == before > 0


def test_a_second_fit_trains_as_the_first_of_a_fresh_module_does():
    ft.seed_everything(1)
    module = Classifier()
    trainer(max_epochs=1).fit(module, Batches())
    ft.seed_everything(2)
    trainer(max_epochs=1).fit(module, Batches())
    ft.seed_everything(1)
    fresh = Classifier()
    trainer(max_epochs=1).fit(fresh, Batches())
    vars(fresh).pop("_programs")
    ft.seed_everything(2)
    trainer(max_epochs=1).fit(fresh, Batches())
    same(bits(nnx.state(module.net)), bits(nnx.state(fresh.net)))


class Told(ft.Module):
    """Its gradient is what the test says."""

    slope = 1.0

    def __init__(self):
        self.params = {"w": jnp.zeros(())}
        self.rate = 1.0

    def training_step(self, batch, batch_idx):
        return self.slope * self.params["w"]

    def configure_optimizers(self):
        return optax.sgd(self.rate)


def moved(module, **flags):
    before = float(module.params["w"])
    trainer(max_epochs=1, **flags).fit(module, Batches(size=48))
    return round(before - float(module.params["w"]), 4)


FACTOR = 1.0


class Named(Told):
    def training_step(self, batch, batch_idx):
        return self.scaled(self.params["w"])

    def scaled(self, x):
        return helped(x) * self.slope


def helped(x):
    return FACTOR * x


def test_another_rate_attribute_flag_or_global_is_noticed_by_the_next_fit(monkeypatch):
    module = Told()
    assert moved(module) == 2.0
    module.rate = 0.5
    assert moved(module) == 1.0
    module.slope = 3.0
    assert moved(module) == 3.0
    assert moved(module, gradient_clip_val=1.0) == 1.0
    assert moved(module, accumulate_grad_batches=2) == 1.5
    module.rate, module.slope = 1.0, 1.0
    assert moved(module) == 2.0
    named = Named()
    assert moved(named) == 2.0
    monkeypatch.setattr(f"{__name__}.FACTOR", 2.0)
    assert moved(named) == 4.0
    monkeypatch.setattr(Named, "scaled", lambda self, x: 7.0 * x)
    assert moved(named) == 14.0


def test_a_schedule_with_another_constant_is_another_optimizer():
    class Scheduled(Told):
        def configure_optimizers(self):
            rate = self.rate
            return optax.chain(optax.scale_by_schedule(lambda count: -rate * (count + 1)))

    module = Scheduled()
    assert moved(module) == 3.0
    module.rate = 2.0
    assert moved(module) == 6.0


class Annealed(Callback):
    """Sets the module's attribute at each epoch's start."""

    def __init__(self, values, name="slope"):
        self.values, self.name = values, name

    def on_train_epoch_start(self, trainer, pl_module):
        setattr(pl_module, self.name, self.values[trainer.current_epoch])


def test_an_attribute_that_a_hook_changes_is_the_new_one_in_the_next_epoch():
    module, values = Told(), [1.0, 10.0]
    run = trainer(max_epochs=2, callbacks=Annealed(values))
    run.fit(module, Batches(size=48))
    assert float(module.params["w"]) == -22.0


@pytest.mark.parametrize("holder", ["list", "dict", "object", "array", "hparams", "nested", "slots", "queue", "class"])
def test_a_value_within_an_attribute_is_noticed_too(holder):
    class Config:
        beta = 1.0

    class Slotted:
        __slots__ = ("beta",)

    class Shared:
        beta = 1.0

    def nested():
        return {"a": {"b": {"c": {"d": SimpleNamespace(e=Config())}}}}

    class Inside(Told):
        def __init__(self, beta=1.0):
            super().__init__()
            self.save_hyperparameters()
            self.config = {
                "list": [beta],
                "dict": {"beta": beta},
                "object": Config(),
                "array": np.ones(5000, np.float32),
            }
            self.config |= {"nested": nested(), "slots": Slotted(), "queue": deque([beta]), "class": Shared()}
            self.config["slots"].beta = beta

        def beta(self):
            if holder == "hparams":
                return self.hparams.beta
            held = self.config[holder]
            if holder == "nested":
                return held["a"]["b"]["c"]["d"].e.beta
            if holder in ("object", "slots", "class"):
                return held.beta
            return held["beta"] if holder == "dict" else jnp.asarray(held)[0] if holder == "array" else held[0]

        def training_step(self, batch, batch_idx):
            return self.beta() * self.params["w"]

    class Changes(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            value, held = [1.0, 10.0][trainer.current_epoch], pl_module.config.get(holder)
            if holder == "dict":
                held["beta"] = value
            elif holder in ("list", "array", "queue"):
                held[0] = value
            else:
                of = {"hparams": pl_module.hparams, "class": Shared}.get(holder, held)
                of = of["a"]["b"]["c"]["d"].e if holder == "nested" else of
                of.beta = value

    module = Inside()
    trainer(max_epochs=2, callbacks=Changes()).fit(module, Batches(size=48))
    assert float(module.params["w"]) == -22.0


def test_a_setting_of_a_network_that_a_hook_changes_is_noticed():
    class Dropped(ft.Module):
        def __init__(self):
            self.net = nnx.Linear(6, 3, rngs=nnx.Rngs(0))
            self.drop = nnx.Dropout(0.0, rngs=nnx.Rngs(0))

        def training_step(self, batch, batch_idx):
            self.log("kept", (self.drop(jnp.ones(1000)) > 0).mean())
            return cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self):
            return optax.sgd(0.1)

    class Drops(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            pl_module.drop.rate = 0.5 * trainer.current_epoch

    run = trainer(max_epochs=2, callbacks=Drops())
    run.fit(Dropped(), Batches())
    assert 0.3 < float(run.callback_metrics["kept"]) < 0.7


def test_every_kind_of_setting_of_a_network_that_a_hook_changes_is_noticed():
    class Scaled(nnx.Module):
        def __init__(self):
            self.w = nnx.Param(jnp.zeros(()))
            self.pair, self.config, self.activation = (1.0, 1.0), SimpleNamespace(scale=1.0), lambda x: x

        def __call__(self):
            return self.pair[0] * self.config.scale * self.activation(self.w[...])

    class Holds(ft.Module):
        def __init__(self):
            self.net = Scaled()

        def training_step(self, batch, batch_idx):
            return self.net()

        def configure_optimizers(self):
            return optax.sgd(1.0)

        def on_train_epoch_start(self):
            if self.current_epoch == 1:
                self.net.pair = (10.0, 1.0)
            if self.current_epoch == 2:
                self.net.config.scale = 10.0
            if self.current_epoch == 3:
                self.net.activation = lambda x: 10.0 * x

    module = Holds()
    trainer(max_epochs=4).fit(module, Batches(size=48))
    assert float(module.net.w[...]) == -2222.0


def test_what_a_step_reads_of_its_trainer_is_that_of_the_run():
    class Asks(Told):
        def training_step(self, batch, batch_idx):
            return self.trainer.max_epochs * self.params["w"]

    module = Asks()
    trainer(max_epochs=1).fit(module, Batches(size=48))
    trainer(max_epochs=2).fit(module, Batches(size=48))
    assert float(module.params["w"]) == -(2 * 1 + 4 * 2)


class Settings:
    scale = 1.0


settings = types.ModuleType("settings")
exec("scale = 1.0\ndef scaled(x): return scale * x", vars(settings))


def test_a_setting_in_a_class_or_in_another_module_is_noticed_by_the_next_fit(monkeypatch):
    class Set(Told):
        def training_step(self, batch, batch_idx):
            return settings.scale * settings.scaled(Settings.scale * self.params["w"])

    module = Set()
    assert moved(module) == 2.0
    monkeypatch.setattr(Settings, "scale", 3.0)
    assert moved(module) == 6.0
    monkeypatch.setattr(settings, "scale", 2.0)
    assert moved(module) == 24.0


def test_an_object_that_refers_back_to_the_module_is_no_reason_to_compile(compiles):
    class Helper:
        def __init__(self, module):
            self.module, self.others = module, []

    class Helped(Told):
        def __init__(self):
            super().__init__()
            self.helper, self.helpers = Helper(self), [Helper(self) for _ in range(20)]
            for helper in (self.helper, *self.helpers):
                helper.others = self.helpers

        def training_step(self, batch, batch_idx):
            return self.helper.module.params["w"]

    module, counts = Helped(), []
    mark = LambdaCallback(on_train_epoch_end=lambda *a: counts.append(compiles()))
    trainer(max_epochs=4, callbacks=mark).fit(module, Batches(size=48))
    assert len(set(counts)) == 1


def test_a_number_that_changes_again_and_again_is_told_once_with_what_to_do():
    module, values = Told(), [float(i) for i in range(8)]
    with pytest.warns(UserWarning, match=r"Told.slope is read by a compiled step.*self.vars\['slope'\]") as caught:
        trainer(max_epochs=8, callbacks=Annealed(values)).fit(module, Batches(size=48))
    assert len([w for w in caught if "slope" in str(w.message)]) == 1
    assert float(module.params["w"]) == -2 * sum(values)


def test_two_values_in_turn_compile_twice(compiles):
    module, values = Told(), [1.0, 2.0] * 5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer(max_epochs=4, callbacks=Annealed(values)).fit(module, Batches(size=48))
        before = compiles()
        trainer(max_epochs=10, callbacks=Annealed(values)).fit(module, Batches(size=48))
    assert compiles() == before


def test_an_attribute_that_no_step_reads_may_change_as_it_likes(compiles):
    module, counts = Told(), []
    mark = LambdaCallback(on_train_epoch_end=lambda *a: counts.append(compiles()))
    trainer(max_epochs=6, callbacks=[Annealed(list(range(6)), "history"), mark]).fit(module, Batches(size=48))
    assert len(set(counts[1:])) == 1


def test_an_evaluation_sees_a_changed_attribute():
    class Scored(Plain):
        threshold = 1.0

        def validation_step(self, batch, batch_idx):
            self.log("score", self.threshold)

    module, run = Scored(), trainer()
    assert run.validate(module, Batches(), verbose=False)[0]["score"] == 1.0
    module.threshold = 2.0
    assert run.validate(module, Batches(), verbose=False)[0]["score"] == 2.0


def test_copies_and_pickles_of_a_fitted_module_work_and_share_no_program():
    module = Plain(optax.sgd(0.1))
    trainer(max_epochs=1).fit(module, Batches())
    module.trainer = module.device = None  # a run, and a device of JAX, cannot be copied
    for again in (copy.copy(module), copy.deepcopy(module)):
        trainer(max_epochs=1).fit(again, Batches())
        assert vars(again)["_programs"].owner() is again
    assert pickle.loads(pickle.dumps(vars(module)["_programs"])).sets == []


def test_a_module_that_is_no_longer_used_is_freed_with_its_programs():
    module = Plain(optax.sgd(0.1))
    run = trainer(max_epochs=1)
    run.fit(module, Batches())
    held, gone = weakref.ref(inside.engine(run)), weakref.ref(module)
    state = weakref.ref(inside.train_state(run).params["params"]["w"])
    trainer(max_epochs=1).fit(module, Batches())
    del run
    gc.collect()
    assert held() is None, "the programs hold no run"
    assert state() is None
    del module
    gc.collect()
    assert gone() is None


def test_a_fitted_module_still_computes():
    module = Plain()
    trainer(max_epochs=1).fit(module, Batches())
    close(np.array(module(X[:2])), X[:2] @ np.array(module.params["w"]) + np.array(module.params["b"]), 1e-5)
