"""nnx.WeightNorm and nnx.SpectralNorm write the kernel that they have normalized into their layer: the step computes
with it, and the optimizer moves the kernel that was there."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import functrain_jax as ft
from tests.adapters.jax.common import trainer

X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


class Net(ft.Module):
    def __init__(self, net, **given):
        self.net, self.given = net, given

    def training_step(self, batch, batch_idx):
        return ((self.net(batch, **self.given) - 1) ** 2).mean()

    def configure_optimizers(self):
        return optax.sgd(0.1)


class ByHand(ft.Module):
    """The same, with the normalized kernel as a value."""

    def __init__(self, layer, normalized):
        self.params = {"kernel": layer.kernel[...], "bias": layer.bias[...]}
        self.normalized = normalized

    def training_step(self, batch, batch_idx):
        return ((batch @ self.normalized(self.params["kernel"]) + self.params["bias"] - 1) ** 2).mean()

    def configure_optimizers(self):
        return optax.sgd(0.1)


def columns(kernel):
    return kernel / jnp.linalg.norm(kernel, axis=0)


def linear():
    return nnx.Linear(3, 2, rngs=nnx.Rngs(0))


def fitted(module):
    trainer(max_epochs=2).fit(module, [X] * 3)
    return module


def test_weight_norm_trains_the_kernel_that_it_normalizes():
    layer = linear()
    expected = fitted(ByHand(layer, columns))
    module = fitted(Net(nnx.WeightNorm(layer, use_scale=False, rngs=nnx.Rngs(1))))
    for name in ("kernel", "bias"):
        np.testing.assert_allclose(getattr(module.net.layer_instance, name)[...], expected.params[name], rtol=1e-5)


@pytest.mark.parametrize("elsewhere", [False, True], ids=["inside", "the layer an attribute too"])
def test_spectral_norm_trains_and_keeps_its_statistics(elsewhere):
    layer = linear()
    net = nnx.SpectralNorm(layer, rngs=nnx.Rngs(1))
    before = np.array(layer.kernel[...]), np.array(net.batch_stats[("kernel", "u")][...])
    if elsewhere:

        class Both(nnx.Module):
            def __init__(self):
                self.layer, self.norm = layer, net

            def __call__(self, x, update_stats):
                return self.norm(x, update_stats=update_stats)

        module = fitted(Net(Both(), update_stats=True))
    else:
        module = fitted(Net(net, update_stats=True))
    assert not np.allclose(before[0], layer.kernel[...])
    assert not np.allclose(before[1], net.batch_stats[("kernel", "u")][...])
    assert np.isfinite(jax.device_get(module.net(X, update_stats=False))).all()


def test_what_a_step_writes_itself_into_such_a_layer_is_an_error_still():
    class Writes(Net):
        def training_step(self, batch, batch_idx):
            self.net.layer_instance.bias[...] = jnp.zeros(2)
            return super().training_step(batch, batch_idx)

    with pytest.raises(ft.ConfigurationError, match=r"writes into self\.net\.layer_instance\.bias"):
        fitted(Writes(nnx.WeightNorm(linear(), rngs=nnx.Rngs(1))))
