"""A step that is made with `terminate_on_nan` is the program of a run that looks for NaN, to the bit."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import functrain_jax as ft
from tests import inside
from tests.adapters.jax.common import Batches, bits, same, trainer
from tests.functional.test_jax import CASES, SEQUENCES, Logs, batches_of, values


class Attends(ft.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.attention = nnx.MultiHeadAttention(2, 6, qkv_features=8, decode=False, rngs=rngs)
        self.norm, self.out = nnx.LayerNorm(6, rngs=rngs), nnx.Linear(6, 1, rngs=rngs)

    def training_step(self, batch, batch_idx):
        guess = self.out(self.norm(batch + self.attention(batch)))
        loss = ((guess - batch.sum(-1, keepdims=True)) ** 2).mean()
        self.log("loss", loss, on_epoch=True)
        return loss

    def configure_optimizers(self):
        return optax.adam(1e-2)


class Convolves(ft.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.first, self.second = nnx.Conv(1, 4, (3, 3), rngs=rngs), nnx.Conv(4, 4, (3, 3), rngs=rngs)
        self.norm, self.drop = nnx.BatchNorm(4, rngs=rngs), nnx.Dropout(0.3, rngs=nnx.Rngs(3))

    def training_step(self, batch, batch_idx):
        hidden = self.drop(nnx.relu(self.norm(self.second(nnx.relu(self.first(batch))))))
        loss = (hidden.mean(-1, keepdims=True) - batch).var()
        self.log("loss", loss, on_epoch=True)
        return loss

    def configure_optimizers(self):
        return optax.adam(1e-2)


class Linen(ft.Module):
    def __init__(self):
        self.net = nn.Sequential([nn.Dense(16), nn.relu, nn.Dense(3)])
        self.params = self.net.init(jax.random.key(0), jnp.zeros((1, 6)))

    def training_step(self, batch, batch_idx):
        out = self.net.apply(self.params, batch[0])
        loss = optax.softmax_cross_entropy_with_integer_labels(out, batch[1]).mean()
        self.log("loss", loss, on_epoch=True)
        return loss

    def configure_optimizers(self):
        return optax.adam(1e-2)


IMAGES = list(np.random.default_rng(0).normal(size=(5, 4, 8, 8, 1)).astype(np.float32))
MODELS = {
    **{name: (*CASES[name], batches_of(name)) for name in ("plain", "clipping", "bf16", "turns", "sequences")},
    "windows": (Logs, {"accumulate_grad_batches": 5}, Batches().batches),
    "attention": (Attends, {}, list(SEQUENCES)),
    "convolutions": (Convolves, {}, IMAGES),
    "linen": (Linen, {}, Batches().batches),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_step_that_looks_for_nan_has_the_bits_of_the_run_that_does(name):
    make, flags, batches = MODELS[name]
    flags = {**flags, "terminate_on_nan": True}
    ft.seed_everything(4)
    run = trainer(max_epochs=2, num_sanity_val_steps=0, **flags)
    run.fit(make(), batches)
    step = ft.functional(make(), **flags)
    state = step.init(4)
    for _ in range(2):
        for i, batch in enumerate(batches):
            state, _ = step.step(state, batch, last=i == len(batches) - 1)
    same(bits(values(state)), bits(values(inside.train_state(run))))


@pytest.mark.parametrize("bad", [0, 5])
def test_the_step_of_a_nan_leaves_the_bits_that_the_run_was_left_with(tmp_path, bad):
    x, y = Batches().batches[bad]
    x = x.copy()
    x[0, 0] = np.nan
    batches = [*Batches().batches[:bad], (x, y), *Batches().batches[bad + 1 :]]
    run = trainer(tmp_path, max_epochs=1, num_sanity_val_steps=0, terminate_on_nan=True)
    with pytest.raises(ft.NotFiniteError) as caught:
        run.fit(Logs(), batches)
    step = ft.functional(Logs(), terminate_on_nan=True)
    after, _ = step.step(ft.load_state(caught.value.path, step), ft.failing_batch(caught.value.path))
    left = inside.train_state(run)
    assert any(np.isnan(leaf).any() for leaf in jax.tree.leaves(left.params))
    same(bits(values(after)), bits(values(left)))


def test_the_step_that_looks_for_nan_is_traced_as_any_other():
    step = ft.functional(Linen(), terminate_on_nan=True, donate=False)
    state, batches = step.init(0), Batches().batches
    stacked = jax.tree.map(lambda *xs: np.stack(xs), *batches)
    _, reports = jax.lax.scan(step.step, state, stacked)
    assert reports.loss.shape == (12,)
    states = jax.vmap(step.init)(jax.random.split(jax.random.key(0), 3))
    _, each = jax.vmap(step.step, (0, None))(states, batches[0])
    np.testing.assert_allclose(each.loss, jnp.full(3, reports.loss[0]), rtol=1e-6)
    slope = jax.grad(lambda x: step.step(state, (x, batches[0][1]))[1].loss)(jnp.asarray(batches[0][0]))
    assert jnp.isfinite(slope).all()
    assert slope.any()
