"""What cannot work under JAX ends in an error that says what to do, and leaves the module as it was."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functrain_jax as ft
from functrain.callbacks import LambdaCallback
from functrain.trainer.callback import Callback
from functrain.trainer.errors import NotFiniteError
from tests.adapters.jax.common import Batches, Endless, Plain, X, Y, bits, same, trainer


def fit(step, **flags):
    """Fit a plain module with this training step; gives the error and checks that the module is whole."""
    cls = type("Faulty", (Plain,), {"training_step": step})
    module = cls()
    before = bits(module.params)
    with pytest.raises((ft.ConfigurationError, TypeError, ValueError)) as caught:
        trainer(max_epochs=1, **flags).fit(module, Batches())
    same(bits(module.params), before)
    return str(caught.value)


def loss_of(self, batch):
    return jnp.mean(self(batch[0]) ** 2)


def test_branch_on_a_traced_value():
    def step(self, batch, batch_idx):
        loss = loss_of(self, batch)
        return loss if loss > 0 else 2 * loss

    said = fit(step)
    assert "Faulty.training_step" in said
    assert "jnp.where" in said


def test_skipping_by_none_and_other_returns():
    assert "weight of 0" in fit(lambda self, batch, batch_idx: None)
    assert "shape (8, 3)" in fit(lambda self, batch, batch_idx: self(batch[0]))
    assert "returned a dict without 'loss'; it has 'mse'" in fit(lambda self, batch, batch_idx: {"mse": 1.0})
    assert "int32" in fit(lambda self, batch, batch_idx: jnp.int32(1))


def test_numpy_on_traced_values_and_float():
    assert "jnp.where" in fit(lambda self, batch, batch_idx: np.asarray(loss_of(self, batch)))
    assert "jnp.where" in fit(lambda self, batch, batch_idx: jnp.float32(float(loss_of(self, batch))))


def test_traced_attributes_would_be_lost():
    def step(self, batch, batch_idx):
        self.last = loss_of(self, batch)
        return self.last

    assert "self.last" in fit(step)


def test_logging_what_is_no_scalar():
    def step(self, batch, batch_idx):
        self.log("x", batch[0])
        return loss_of(self, batch)

    assert "shape (8, 6)" in fit(step)

    def text(self, batch, batch_idx):
        self.log("x", "high")
        return loss_of(self, batch)

    assert "str is no scalar" in fit(text)


def test_wrong_argument_names():
    assert "'idx_of_batch'" in fit(lambda self, batch, batch_idx, idx_of_batch: 0.0)


def test_a_batch_that_is_no_array():
    loader = [{"x": np.ones((2, 6), np.float32), "name": "first"}]
    with pytest.raises(ft.ConfigurationError, match=r"batch\['name'\] is a str"):
        trainer(max_epochs=1).fit(Plain(), Endless(loader))


def test_missing_parts():
    class NoStep(ft.Module):
        def configure_optimizers(self):
            return optax.sgd(0.1)

    class NoOptimizer(ft.Module):
        def training_step(self, batch, batch_idx): ...

    class NoParameters(NoOptimizer):
        def configure_optimizers(self):
            return optax.sgd(0.1)

    for cls, match in (
        (NoStep, "NoStep.training_step is not defined"),
        (NoOptimizer, "NoOptimizer.configure_optimizers is not defined"),
        (NoParameters, "NoParameters holds no parameters"),
    ):
        with pytest.raises(ft.ConfigurationError, match=match):
            trainer(max_epochs=1).fit(cls(), Batches())
    with pytest.raises(ft.ConfigurationError, match="validation_step is not defined"):
        trainer().validate(Plain(), Batches())


def test_hooks_of_the_eager_step_are_refused():
    class Looks(Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer): ...

    with pytest.raises(ft.ConfigurationError, match="on_before_optimizer_step is overridden"):
        trainer(max_epochs=1, callbacks=Looks()).fit(Plain(), Batches())


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        ({"automatic_optimization": False}, "automatic_optimization=False needs torch"),
        ({"track_grad_norm": 2}, "track_grad_norm=2"),
        ({"truncated_bptt_steps": 2, "accumulate_grad_batches": 2}, "truncated_bptt_steps=2"),
        ({"precision": 64}, "jax_enable_x64"),
    ],
)
def test_flags_that_jax_does_not_have(flags, match):
    if "precision" in flags and jax.config.jax_enable_x64:
        pytest.skip("64 bits are on")
    with pytest.raises(ft.ConfigurationError, match=match):
        trainer(max_epochs=1, **flags).fit(Plain(), Batches())


@pytest.mark.skipif(jax.default_backend() == "gpu", reason="there is a GPU")
def test_a_gpu_that_is_not_there():
    with pytest.raises(ft.ConfigurationError, match=r"accelerator='gpu'.*JAX sees no GPU"):
        trainer(max_epochs=1, accelerator="gpu").fit(Plain(), Batches())


def test_terminate_on_nan_names_the_batch_or_the_parameter():
    class Breaks(Plain):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx) + jnp.where(batch_idx == 7, jnp.nan, 0.0)

    with pytest.raises(NotFiniteError, match="epoch 0, batch 7"):
        trainer(max_epochs=1, terminate_on_nan=True).fit(Breaks(), Batches())

    class Explodes(Plain):
        def training_step(self, batch, batch_idx):
            # Zero, with an infinite slope.
            return super().training_step(batch, batch_idx) + jnp.sqrt(self.params["b"][0])

    with pytest.raises(NotFiniteError, match=r"parameter 'params.b' is not finite after epoch 0, batch 0"):
        trainer(max_epochs=1, terminate_on_nan=True).fit(Explodes(), Batches(size=96))


def test_a_module_is_whole_after_an_error_in_the_middle():
    class Breaks(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if batch_idx == 3:
                raise RuntimeError("stop here")

    module = Plain()
    before = bits(module.params)
    with pytest.raises(RuntimeError, match="stop here"):
        trainer(max_epochs=1, callbacks=Breaks()).fit(module, Batches())
    after = bits(module.params)
    assert not np.allclose(after["w"], before["w"])
    assert np.isfinite(np.array(module(jnp.ones((1, 6))))).all()


@pytest.mark.parametrize("dispatches", ["many at once", "one by one"])
def test_on_exception_sees_the_weights_that_were_trained_before_a_loader_failed(dispatches):
    def fails():
        for i in range(13):
            yield X[i : i + 8], Y[i : i + 8]
        raise OSError("the disk is gone")

    def weights(module):
        return np.array(module.params["w"])

    seen, module = [], Plain()
    looks = LambdaCallback(on_exception=lambda trainer, module, error: seen.append(weights(module)))
    each = [LambdaCallback(on_train_batch_end=lambda *a: None)] if dispatches == "one by one" else []
    with pytest.raises(OSError, match="the disk is gone"):
        trainer(max_epochs=1, callbacks=[looks, *each]).fit(module, Endless(fails()))
    whole = Plain()
    trainer(max_epochs=1).fit(whole, [(X[i : i + 8], Y[i : i + 8]) for i in range(13)])
    assert np.array_equal(seen[0], weights(whole))


@pytest.mark.parametrize("loader", [Batches(), Endless(Batches().batches)], ids=["sized", "unsized"])
def test_hooks_at_the_end_of_a_run_that_max_steps_ends_in_mid_epoch_see_the_weights(loader):
    seen, module = [], Plain()
    looks = LambdaCallback(on_train_end=lambda trainer, module: seen.append(np.array(module.params["w"])))
    trainer(max_steps=3, callbacks=looks).fit(module, loader)
    assert np.array_equal(seen[0], np.array(module.params["w"]))
