"""Copies and pickles of a module that was trained, or is being trained."""

import copy
import pickle

import jax
import numpy as np
import optax
import pytest
from flax import linen, nnx

import functrain_jax as ft
from tests.adapters.jax.common import Batches, Classifier, Plain, X, bits, cross_entropy, same, trainer


class OfArrays(Plain):
    """Without an optimizer among its attributes: those of optax are closures, which no pickle takes."""

    def __init__(self):
        super().__init__()
        self.tx = None

    def configure_optimizers(self):
        return optax.adam(1e-2)


class OfLinen(ft.Module):
    def __init__(self):
        # The default initializer of a linen layer is a closure as well.
        self.net = ft.from_linen(linen.Dense(3, kernel_init=linen.initializers.zeros), X[:2], rng=0)

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        return cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self):
        return optax.adam(1e-2)


def pickled(module):
    return pickle.loads(pickle.dumps(module))


def weights(module):
    return bits(module.params if isinstance(module, Plain) else nnx.to_pure_dict(nnx.state(module.net, nnx.Param)))


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
@pytest.mark.parametrize("kind", [OfArrays, Classifier, OfLinen])
def test_a_fitted_module_is_copied_and_pickled_without_its_run(kind, copied):
    module = kind()
    trainer(max_epochs=1).fit(module, Batches())
    twin = copied(module)
    assert twin.trainer is None
    assert twin.device is None
    same(weights(twin), weights(module))
    before = weights(module)
    trainer(max_epochs=1).fit(twin, Batches())
    same(weights(module), before)
    trainer(max_epochs=1).fit(module, Batches())
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(weights(twin)))


def test_a_copy_of_the_module_made_in_on_fit_start_holds_a_moving_average():
    class Averages(Classifier):
        def on_fit_start(self):
            self.average = copy.deepcopy(self)
            self.first = weights(self)

        def on_train_epoch_end(self):
            new, old = nnx.state(self.net, nnx.Param), nnx.state(self.average.net, nnx.Param)
            nnx.update(self.average.net, jax.tree.map(lambda a, b: 0.5 * a + 0.5 * b, new, old))

    module = Averages()
    trainer(max_epochs=1).fit(module, Batches())
    halfway = jax.tree.map(lambda a, b: 0.5 * a + 0.5 * b, module.first, weights(module))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), weights(module.average), halfway)
