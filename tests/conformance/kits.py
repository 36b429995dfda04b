"""The three adapters, asked for the same things: one small model in each, numpy arrays in and out.

The model is a linear regression in float32. It logs 'loss' in a training step and 'val_loss' in a validation step, and
keeps the loss of a step in its output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import pytest

RATE, MOMENTUM = 0.1, 0.5
Arrays = dict[str, np.ndarray]
Batch = tuple[np.ndarray, np.ndarray]


class Wish(NamedTuple):
    """How the model is trained.

    Attributes:
        frequencies: of two optimizers, one for 'w' and one for 'b'; None for a single one.
        wide: three inputs in place of two, so that its checkpoints are another module's.
        momentum: the optimizers keep a velocity; without it their state has another form in torch and JAX.
    """

    frequencies: tuple[int, int] | None = None
    wide: bool = False
    momentum: float = MOMENTUM

    def start(self) -> Arrays:
        """The first weights."""
        n = 3 if self.wide else 2
        return {"w": np.linspace(-1, 1, n).astype(np.float32), "b": np.zeros(1, np.float32)}

    def players(self) -> list[dict[str, Any]]:
        """Names and frequency of each optimizer."""
        if self.frequencies is None:
            return [{"params": ("w", "b")}]
        names = zip((("w",), ("b",)), self.frequencies, strict=True)
        return [{"params": own, "frequency": frequency} for own, frequency in names]


class Kit(Protocol):
    """One adapter."""

    name: str

    def trainer(self, **flags: Any) -> Any:
        """A Trainer without bars, summaries and loggers of its own."""
        ...

    def module(self, wish: Wish = ...) -> Any:
        """A new model, with the same first weights every time."""
        ...

    def weights(self, module: Any) -> Arrays:
        """Copied."""
        ...

    def batch(self, x: np.ndarray, y: np.ndarray) -> Any:
        """A batch as this framework's users have it."""
        ...


QUIET = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "enable_checkpointing": False}


def data(n: int, size: int = 3, seed: int = 0, wide: bool = False) -> list[Batch]:
    """n batches."""
    rng = np.random.default_rng(seed)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    return [(draw(size, 3 if wide else 2), draw(size)) for _ in range(n)]


class Numpy:
    """tests/numpy_adapter."""

    name = "numpy"

    def trainer(self, **flags: Any) -> Any:
        from tests.numpy_adapter import Trainer

        return Trainer(**{**QUIET, **flags})

    def module(self, wish: Wish = Wish()) -> Any:  # noqa: B008
        from tests.numpy_adapter import SGD, Micro, Module

        class Model(Module):
            def __init__(self) -> None:
                self.params = wish.start()

            def loss(self, batch: Batch) -> tuple[Any, np.ndarray]:
                x, y = batch
                error = x @ self.params["w"] + self.params["b"] - y
                return (error**2).mean(), error

            def training_step(self, batch: Batch, batch_idx: int, optimizer_idx: int = 0) -> Micro:
                loss, error = self.loss(batch)
                self.log("loss", loss)
                share = 2 * error / np.float32(len(error))
                return Micro(loss, {"w": batch[0].T @ share, "b": share.sum(keepdims=True)})

            def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
                loss = self.loss(batch)[0]
                self.log("val_loss", loss)
                return {"loss": loss}

            test_step = validation_step

            def predict_step(self, batch: Batch, batch_idx: int) -> np.ndarray:
                return batch[0] @ self.params["w"] + self.params["b"]

            def configure_optimizers(self) -> Any:
                return [{"optimizer": SGD(RATE, wish.momentum), **player} for player in wish.players()]

        return Model()

    def weights(self, module: Any) -> Arrays:
        return {name: p.copy() for name, p in module.params.items()}

    def batch(self, x: np.ndarray, y: np.ndarray) -> Any:
        return x.copy(), y.copy()


class Steps:
    """The steps of a model with a `loss`, in every framework whose gradients come by themselves."""

    def training_step(self: Any, batch: Any, batch_idx: int, optimizer_idx: int = 0) -> Any:
        loss = self.loss(batch)
        self.log("loss", loss)
        return loss

    def validation_step(self: Any, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.log("val_loss", loss)
        return {"loss": loss}

    test_step = validation_step


class Torch:
    """functrain_torch."""

    name = "torch"

    def trainer(self, **flags: Any) -> Any:
        from functrain_torch import Trainer

        return Trainer(**{**QUIET, "accelerator": "cpu", **flags})

    def module(self, wish: Wish = Wish()) -> Any:  # noqa: B008
        import torch

        from functrain_torch import LightningModule

        class Model(Steps, LightningModule):
            def __init__(self) -> None:
                super().__init__()
                for name, value in wish.start().items():
                    setattr(self, name, torch.nn.Parameter(torch.from_numpy(value)))

            def loss(self, batch: Any) -> Any:
                x, y = batch
                return ((x @ self.w + self.b - y) ** 2).mean()

            def predict_step(self, batch: Any, batch_idx: int) -> Any:
                return batch[0] @ self.w + self.b

            def configure_optimizers(self) -> Any:
                found = []
                for player in wish.players():
                    own = [getattr(self, name) for name in player.pop("params")]
                    found.append({"optimizer": torch.optim.SGD(own, RATE, wish.momentum), **player})
                return found if len(found) > 1 else found[0]

        return Model()

    def weights(self, module: Any) -> Arrays:
        return {name: p.detach().numpy().copy() for name, p in module.named_parameters()}

    def batch(self, x: np.ndarray, y: np.ndarray) -> Any:
        import torch

        return torch.from_numpy(x.copy()), torch.from_numpy(y.copy())


class Jax:
    """functrain_jax."""

    name = "jax"

    def trainer(self, **flags: Any) -> Any:
        from functrain_jax import Trainer

        return Trainer(**{**QUIET, **flags})

    def module(self, wish: Wish = Wish()) -> Any:  # noqa: B008
        import jax.numpy as jnp
        import optax
        from flax import nnx

        from functrain_jax import Module

        class Part(nnx.Module):
            def __init__(self, value: np.ndarray) -> None:
                self.value = nnx.Param(jnp.asarray(value))

        class Model(Steps, Module):
            def __init__(self) -> None:
                for name, value in wish.start().items():
                    setattr(self, name, Part(value))

            def loss(self, batch: Any) -> Any:
                x, y = batch
                return ((x @ self.w.value[...] + self.b.value[...] - y) ** 2).mean()

            def predict_step(self, batch: Any, batch_idx: int) -> Any:
                return batch[0] @ self.w.value[...] + self.b.value[...]

            def configure_optimizers(self) -> Any:
                sgd = optax.sgd(RATE, momentum=wish.momentum or None)
                players = wish.players()
                return sgd if len(players) == 1 else [{"optimizer": sgd, **player} for player in players]

        return Model()

    def weights(self, module: Any) -> Arrays:
        return {name: np.array(getattr(module, name).value[...]) for name in ("w", "b")}

    def batch(self, x: np.ndarray, y: np.ndarray) -> Any:
        return x.copy(), y.copy()


KITS: Sequence[Kit] = (Numpy(), Torch(), Jax())
on_every_adapter = pytest.mark.parametrize("kit", KITS, ids=[kit.name for kit in KITS])


def batches(kit: Kit, n: int, **options: Any) -> list[Any]:
    """n batches as the framework's users have them."""
    return [kit.batch(*batch) for batch in data(n, **options)]


def by_hand(given: Sequence[Batch], epochs: int, wish: Wish = Wish(), window: int = 1, clip: Any = None) -> Arrays:  # noqa: B008
    """The loop that one would write, in double precision: gradients by pencil, a mean over a window, clipped, stepped.

    Args:
        clip: (bound, 'norm' or 'value').
    """
    values = {name: p.astype(np.float64) for name, p in wish.start().items()}
    velocity = {name: np.zeros_like(p) for name, p in values.items()}
    for _ in range(epochs):
        opened: list[Arrays] = []
        for i, (x, y) in enumerate(given):
            error = x @ values["w"] + values["b"] - y
            opened.append({"w": 2 * x.T @ error / len(y), "b": np.array([2 * error.mean()])})
            if len(opened) < window and i + 1 < len(given):
                continue
            mean = {name: np.mean([g[name] for g in opened], axis=0) for name in _whose(i, wish.frequencies)}
            opened = []
            for name, gradient in _clipped(mean, clip).items():
                velocity[name] = gradient + wish.momentum * velocity[name]
                values[name] = values[name] - RATE * velocity[name]
    return values


def _whose(batch: int, frequencies: tuple[int, int] | None) -> tuple[str, ...]:
    if frequencies is None:
        return ("w", "b")
    return ("w",) if batch % sum(frequencies) < frequencies[0] else ("b",)


def _clipped(gradient: Arrays, clip: Any) -> Arrays:
    if clip is None:
        return gradient
    bound, algorithm = clip
    if algorithm == "value":
        return {name: np.clip(g, -bound, bound) for name, g in gradient.items()}
    norm = np.sqrt(sum((g**2).sum() for g in gradient.values()))
    return {name: g * min(1.0, bound / (norm + 1e-6)) for name, g in gradient.items()}


def close(got: Arrays, want: Arrays) -> None:
    """As close as float32 is."""
    assert got.keys() == want.keys()
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
