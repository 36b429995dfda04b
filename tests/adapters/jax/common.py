"""What the tests of the JAX adapter share: small data, small modules, quiet Trainers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import functrain_jax as ft
from tests import inside

RNG = np.random.default_rng(0)
X = RNG.normal(size=(96, 6)).astype(np.float32)
Y = X[:, :3].argmax(-1).astype(np.int64)


class Batches:
    """A loader: batches of a fixed size in a fixed order, with a length."""

    def __init__(self, size=8, n=96, x=X, y=Y):
        self.batches = [(x[i : i + size], y[i : i + size]) for i in range(0, n, size)]

    def __iter__(self):
        return iter(self.batches)

    def __len__(self):
        return len(self.batches)


class Endless:
    """A loader without a length."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


def cross_entropy(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


class Plain(ft.Module):
    """A linear classifier in `self.params`, without a network class."""

    def __init__(self, tx=None):
        self.params = {"w": 0.1 * jnp.ones((6, 3)), "b": jnp.zeros(3)}
        self.tx = tx or optax.adam(1e-2)

    def forward(self, x):
        return x @ self.params["w"] + self.params["b"]

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = cross_entropy(self(x), y)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return self.tx


class Net(nnx.Module):
    """A network with everything that is state: weights, running statistics, dropout."""

    def __init__(self, rngs):
        self.first = nnx.Linear(6, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.drop = nnx.Dropout(0.2, rngs=rngs)
        self.blocks = nnx.List([nnx.Linear(8, 8, rngs=rngs), nnx.Linear(8, 3, rngs=rngs)])

    def __call__(self, x):
        x = self.drop(jax.nn.relu(self.norm(self.first(x))))
        for block in self.blocks:
            x = block(x)
        return x


class Classifier(ft.Module):
    """The network with every step and hyperparameters."""

    def __init__(self, lr=1e-2, seed=0):
        self.save_hyperparameters()
        self.net = Net(nnx.Rngs(seed))
        self.lr = lr

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = cross_entropy(self.net(x), y)
        self.log("loss", loss, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        logits = self.net(x)
        self.log("val_loss", cross_entropy(logits, y))
        self.log("val_acc", (logits.argmax(-1) == y).mean())

    def test_step(self, batch, batch_idx):
        self.log("test_acc", (self.net(batch[0]).argmax(-1) == batch[1]).mean())

    def predict_step(self, batch, batch_idx):
        return self.net(batch[0])

    def configure_optimizers(self):
        return optax.adam(self.lr)


def trainer(path=None, **flags):
    """A Trainer that writes nothing unless it is told to."""
    quiet = {"logger": False, "checkpoint_callback": False, "progress_bar_refresh_rate": 0, "weights_summary": None}
    return ft.Trainer(**{**quiet, "default_root_dir": None if path is None else str(path), **flags})


def bits(tree):
    """Host copies, with random keys as their data."""
    raw = jax.tree.map(lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x, tree)
    return jax.tree.map(np.array, raw)


def everything(run):
    """All of a run's state as host arrays, but for what an empty window still holds."""
    state = inside.train_state(run)
    players = [p._replace(acc=p.acc._replace(grads=p.acc.grads if int(p.acc.count) else None)) for p in state.players]
    return bits((state.params, state.vars, players, state.rng, state.clock.skipped))


def same(a, b):
    """The very bits."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def close(a, b, tolerance=1e-6):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance), a, b)
