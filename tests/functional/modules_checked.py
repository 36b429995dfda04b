"""Sound modules of both worlds for the checks of `functrain.testing`, and batches for them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from flax import nnx
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

import functrain_jax as ft
import functrain_torch as pl

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 4)).astype(np.float32)
Y = np.arange(12) % 3
IMAGES = RNG.normal(size=(12, 1, 6, 6)).astype(np.float32)
SEQUENCES = RNG.normal(size=(6, 8, 3)).astype(np.float32)
SUMS = SEQUENCES.sum(-1, keepdims=True).cumsum(1)


class TorchMlp(pl.LightningModule):
    """A classifier."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(4, 32), nn.Linear(32, 3)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)))

    def predict_step(self, batch, batch_idx):
        return self(batch[0])

    def loss(self, x, y):
        return cross_entropy(self(x), y)

    def training_step(self, batch, batch_idx):
        loss = self.loss(*batch)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


class JaxMlp(ft.Module):
    """A classifier."""

    def __init__(self):
        self.first, self.last = (nnx.Linear(*sizes, rngs=nnx.Rngs(0)) for sizes in ((4, 32), (32, 3)))

    def forward(self, x):
        return self.last(jnp.tanh(self.first(x)))

    def predict_step(self, batch, batch_idx):
        return self(batch[0])

    def loss(self, x, y):
        return optax.softmax_cross_entropy_with_integer_labels(self(x), y).mean()

    def training_step(self, batch, batch_idx):
        loss = self.loss(*batch)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return optax.adam(0.01)


class TorchConv(TorchMlp):
    """A convolutional network with BatchNorm."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
        self.last = nn.Linear(64, 3)


class JaxConv(JaxMlp):
    """A convolutional network with BatchNorm."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.conv = nnx.Conv(1, 4, (3, 3), padding="VALID", rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.last = nnx.Linear(64, 3, rngs=rngs)

    def forward(self, x):
        hidden = self.norm(self.conv(jnp.moveaxis(x, 1, -1)))
        return self.last(nnx.relu(hidden).reshape(len(x), -1))


class TorchLstm(TorchMlp):
    """Predicts the sum so far of a sequence, step by step."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.LSTM(3, 8, batch_first=True), nn.Linear(8, 1)

    def forward(self, x):
        return self.last(self.first(x)[0])

    def loss(self, x, y):
        return mse_loss(self(x), y)


class JaxLstm(JaxMlp):
    """Predicts the sum so far of a sequence, step by step."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.first = nnx.RNN(nnx.OptimizedLSTMCell(3, 8, rngs=rngs))
        self.last = nnx.Linear(8, 1, rngs=rngs)

    def forward(self, x):
        states: Any = self.first(x)
        return self.last(states)

    def loss(self, x, y):
        return ((self(x) - y) ** 2).mean()


class TorchPieces(TorchMlp):
    """Batches are cut along time."""

    truncated_bptt_steps = 3

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.GRU(3, 8, batch_first=True), nn.Linear(8, 1)

    def training_step(self, batch, batch_idx, hiddens):
        hidden, hiddens = self.first(batch[0], hiddens)
        return {"loss": mse_loss(self.last(hidden), batch[1]), "hiddens": hiddens}

    def forward(self, x):
        return self.last(self.first(x)[0])


class JaxPieces(JaxMlp):
    """Batches are cut along time."""

    truncated_bptt_steps = 3

    def __init__(self):
        self.first, self.last = nnx.SimpleCell(3, 8, rngs=nnx.Rngs(0)), nnx.Linear(8, 1, rngs=nnx.Rngs(1))

    def unrolled(self, x, hidden):
        outputs = []
        for t in range(x.shape[1]):
            hidden, output = self.first(hidden, x[:, t])
            outputs.append(self.last(output))
        return hidden, jnp.stack(outputs, 1)

    def training_step(self, batch, batch_idx, hiddens):
        x, y = batch
        hidden, output = self.unrolled(x, jnp.zeros((len(x), 8)) if hiddens is None else hiddens)
        return {"loss": ((output - y) ** 2).mean(), "hiddens": hidden}

    def forward(self, x):
        return self.unrolled(x, jnp.zeros((len(x), 8)))[1]


class TorchGan(TorchMlp):
    """Two optimizers that play against each other."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))

    def predict_step(self, batch, batch_idx):
        return self.first(batch[0])

    def training_step(self, batch, batch_idx, optimizer_idx):
        real, fake = batch[0], self.first(torch.tanh(batch[0].flip(1)))
        if optimizer_idx == 0:
            said = self.last(fake)
            return binary_cross_entropy_with_logits(said, torch.ones_like(said))
        true, false = self.last(real + 1), self.last(fake.detach())
        right = binary_cross_entropy_with_logits(true, torch.ones_like(true))
        return right + binary_cross_entropy_with_logits(false, torch.zeros_like(false))

    def configure_optimizers(self):
        return [torch.optim.Adam(part.parameters(), lr=0.01) for part in (self.first, self.last)]


class JaxGan(JaxMlp):
    """Two optimizers that play against each other."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.first = nnx.Linear(4, 4, rngs=rngs)
        self.last = nnx.Sequential(nnx.Linear(4, 16, rngs=rngs), jnp.tanh, nnx.Linear(16, 1, rngs=rngs))

    def predict_step(self, batch, batch_idx):
        return self.first(batch[0])

    def training_step(self, batch, batch_idx, optimizer_idx):
        real, fake = batch[0], self.first(jnp.tanh(batch[0][:, ::-1]))
        if optimizer_idx == 0:
            said = self.last(fake)
            return optax.sigmoid_binary_cross_entropy(said, jnp.ones_like(said)).mean()
        true, false = self.last(real + 1), self.last(jax.lax.stop_gradient(fake))
        right = optax.sigmoid_binary_cross_entropy(true, jnp.ones_like(true)).mean()
        return right + optax.sigmoid_binary_cross_entropy(false, jnp.zeros_like(false)).mean()

    def configure_optimizers(self):
        return [{"optimizer": optax.adam(0.01), "params": name} for name in ("first", "last")]


def in_torch(batch):
    return tuple(map(torch.from_numpy, batch))


GIVEN = {"mlp": (X, Y), "conv": (IMAGES, Y), "lstm": (SEQUENCES, SUMS), "pieces": (SEQUENCES, SUMS), "gan": (X, Y)}
CLASSES = {
    "torch": {"mlp": TorchMlp, "conv": TorchConv, "lstm": TorchLstm, "pieces": TorchPieces, "gan": TorchGan},
    "jax": {"mlp": JaxMlp, "conv": JaxConv, "lstm": JaxLstm, "pieces": JaxPieces, "gan": JaxGan},
}
WORLDS = list(CLASSES)
SOUND = [(world, name) for world in CLASSES for name in GIVEN]
"""Each world and the name of each of its sound modules."""


def batch_of(world, name="mlp"):
    """The batch of a module of this name."""
    return in_torch(GIVEN[name]) if world == "torch" else GIVEN[name]
