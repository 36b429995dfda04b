"""A small JAX run with everything that a checkpoint must not forget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import functrain_jax as ft
from functrain.callbacks import EarlyStopping, ModelCheckpoint
from functrain.data import ArrayLoader
from functrain.trainer.callback import Callback
from tests import inside
from tests.resume.common import Counting, MemoryLogger, Saver, disturb, final

BATCHES, SIZE, EPOCHS = 7, 3, 2


def samples(n: int = BATCHES * SIZE, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 4)).astype(np.float32), rng.integers(0, 3, n).astype(np.int32)


class Layers(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(4, 6, rngs=rngs)
        self.norm = nnx.BatchNorm(6, rngs=rngs)
        self.drop = nnx.Dropout(0.3, rngs=rngs)
        self.last = nnx.Linear(6, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.last(self.drop(self.norm(self.first(x))))


class Net(ft.Module):
    """Dropout and batch normalization; Adam with a schedule."""

    def __init__(self) -> None:
        self.net = Layers(nnx.Rngs(0))

    def loss(self, batch: Any) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(self.net(batch[0]), batch[1]).mean()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.log("loss", loss, on_step=True, on_epoch=True)
        self.log("worst", loss, on_step=False, on_epoch=True, reduce_fx="max")
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self) -> Any:
        return optax.adam(optax.cosine_decay_schedule(0.05, 20))


class Linear(ft.Module):
    """One layer, without any random state; cheap to compile."""

    def __init__(self) -> None:
        self.params = {"w": 0.1 * jnp.ones((4, 3))}

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        logits = batch[0] @ self.params["w"]
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", jnp.square(batch[0] @ self.params["w"]).mean())

    def configure_optimizers(self) -> Any:
        return optax.sgd(0.1, momentum=0.9)


def arrays() -> Any:
    return ArrayLoader(samples(), SIZE, shuffle=True, seed=3)


def shuffled() -> Any:
    """torch's loader, whose order comes from torch's global generator."""
    import torch

    x, y = samples()
    data = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    return torch.utils.data.DataLoader(data, batch_size=SIZE, shuffle=True)


class Generated:
    """No length, no state; its order comes from numpy's global generator."""

    def __iter__(self) -> Any:
        x, y = samples()
        for i in np.random.permutation(BATCHES):
            yield x[i * SIZE : i * SIZE + SIZE], y[i * SIZE : i * SIZE + SIZE]


class Ragged:
    """Batches of several sizes, in an order of its own generator."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(4)

    def __len__(self) -> int:
        return BATCHES

    def __iter__(self) -> Any:
        x, y = samples()
        for i in self.rng.permutation(BATCHES):
            n = 2 + int(i) % 2
            yield x[i * SIZE : i * SIZE + n], y[i * SIZE : i * SIZE + n]


class RaggedWithState(Ragged):
    """The same, asked for its state."""

    def __init__(self) -> None:
        super().__init__()
        self.epoch = self.given = self.start = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch, self.rng = epoch, np.random.default_rng(epoch)

    def __iter__(self) -> Any:
        start, self.start = self.start, 0
        for n, batch in enumerate(super().__iter__()):
            if n >= start:
                self.given = n + 1
                yield batch

    def state_dict(self) -> dict[str, int]:
        return {"given": self.given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.start = state["given"]


def validation() -> Any:
    return ArrayLoader(samples(8, 1), 4)


class Counts(Counting):
    """Counts what there is in a compiled run."""


for _name in inside.step_hooks():
    if hasattr(Callback, _name):
        setattr(Counts, _name, getattr(Callback, _name))

Case = tuple[type[Any], Callable[[], Any], dict[str, Any]]

CASES: dict[str, Case] = {
    "everything": (Net, arrays, {"accumulate_grad_batches": 3, "val_check_interval": 0.5}),
    "torch_loader": (Linear, shuffled, {"gradient_clip_val": 0.1}),
    "generated": (Linear, Generated, {"accumulate_grad_batches": {0: 2, 1: 3}}),
    "ragged": (Linear, Ragged, {"precision": 16, "accumulate_grad_batches": 2}),
}


def parts(case: Case, seed: int, callbacks: list[Any], **flags: Any) -> tuple[Any, Any, Any, Any]:
    """A fresh trainer, module, training and validation loader."""
    ft.seed_everything(seed)
    if seed != 1:
        disturb()
    module, loader, more = case
    given = {"max_epochs": EPOCHS, "log_every_n_steps": 1, **more, **flags}
    trainer = ft.Trainer(
        callbacks=callbacks, logger=MemoryLogger(), progress_bar_refresh_rate=0, weights_summary=None,
        checkpoint_callback=any(isinstance(callback, ModelCheckpoint) for callback in callbacks), **given,
    )  # fmt: skip
    return trainer, module(), loader(), validation()


def whole(
    case: Case, directory: Any, hooks: tuple[str, ...], counted: bool = False, every: int = 1, **flags: Any
) -> tuple[dict[str, Any], dict[tuple[str, int], tuple[str, int]]]:
    """The uninterrupted run, which saves on its way; gives what it ends with, and what it saved."""
    saver = Saver(directory, hooks, every)
    around = [Counts("before"), saver, Counts("after")] if counted else [saver]
    trainer, module, train, val = parts(case, 1, [*around, EarlyStopping("val_loss", patience=9)], **flags)
    trainer.fit(module, train, val)
    return final(trainer, trainer.logger.rows), saver.saved


def continued(case: Case, saved: tuple[str, int], counted: bool = False, **flags: Any) -> dict[str, Any]:
    """A fresh run that continues from a checkpoint; gives what it ends with, and logs from there on."""
    around = [Counts("before"), Counts("after")] if counted else []
    trainer, module, train, val = parts(case, 99, [*around, EarlyStopping("val_loss", patience=9)], **flags)
    trainer.fit(module, train, val, ckpt_path=saved[0])
    return final(trainer, trainer.logger.rows)
