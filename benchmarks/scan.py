"""JAX: Trainer.fit against a hand-written scan and a hand-written jit loop, on a tiny and on a large model, in one run.

All contestants take the same numpy batches from the same list, and train with the same optax optimizer. The
hand-written scan stacks 50 of them a dispatch, which is what the Trainer does by itself with its default flags.
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import functrain_jax as fj
from benchmarks.measure import interleaved, machine, median, ratios

CHUNK = 50
ROUNDS = 9


class Tiny(nnx.Module):
    """A linear model of a few weights: what a step costs is its dispatch."""

    steps, batch, width = 2000, 8, 4

    def __init__(self) -> None:
        self.layer = nnx.Linear(4, 1, rngs=nnx.Rngs(0))

    def __call__(self, x: Any) -> Any:
        return self.layer(x)


class Large(nnx.Module):
    """784-512-512-10 in batches of 128: what a step costs is its arithmetic."""

    steps, batch, width = 100, 128, 784

    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.layers = nnx.List([nnx.Linear(784, 512, rngs=rngs), nnx.Linear(512, 512, rngs=rngs)])
        self.last = nnx.Linear(512, 1, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        for layer in self.layers:
            x = nnx.relu(layer(x))
        return self.last(x)


def squared(net: Any, batch: Any) -> Any:
    x, y = batch
    return jnp.mean((net(x)[:, 0] - y) ** 2)


class Regression(fj.Module):
    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def training_step(self, batch: Any, batch_idx: Any) -> Any:
        return squared(self.net, batch)

    def configure_optimizers(self) -> Any:
        return optax.adam(1e-3)


def batches(model: Any) -> list[Any]:
    rng = np.random.default_rng(0)
    made = []
    for _ in range(model.steps):
        x = rng.normal(size=(model.batch, model.width)).astype(np.float32)
        made.append((x, x[:, 0]))
    return made


def by_hand(model: Any, scanned: bool) -> Callable[[list[Any]], float]:
    """Seconds of an epoch of a compiled step, dispatched one by one or scanned over chunks."""
    graph, params = nnx.split(model())
    tx = optax.adam(1e-3)

    def step(carry: Any, batch: Any) -> Any:
        params, opt = carry
        loss, grads = jax.value_and_grad(lambda p: squared(nnx.merge(graph, p), batch))(params)
        updates, opt = tx.update(grads, opt, params)
        return (optax.apply_updates(params, updates), opt), loss

    single = jax.jit(step, donate_argnums=0)
    many = jax.jit(lambda carry, stacked: jax.lax.scan(step, carry, stacked), donate_argnums=0)
    carry: Any = (params, tx.init(params))

    def epoch(data: list[Any]) -> float:
        nonlocal carry
        start = time.perf_counter()
        if scanned:
            for i in range(0, len(data), CHUNK):
                stacked = tuple(np.stack(part) for part in zip(*data[i : i + CHUNK], strict=True))
                carry, _ = many(carry, jax.device_put(stacked))
        else:
            for batch in data:
                carry, _ = single(carry, batch)
        jax.block_until_ready(carry)
        return time.perf_counter() - start

    return epoch


def by_trainer(model: Any, folder: str) -> Callable[[list[Any]], float]:
    """Seconds of an epoch of Trainer.fit: the time between the ends of its epochs, so that compiling is not in it."""
    ends: list[float] = []

    class Clock(fj.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            jax.block_until_ready(trainer.run.engine.state_dict(weights_only=True))
            ends.append(time.perf_counter())

    def epoch(data: list[Any]) -> float:
        ends.clear()
        trainer = fj.Trainer(
            max_epochs=3, logger=False, checkpoint_callback=False, progress_bar_refresh_rate=0, weights_summary=None,
            callbacks=[Clock()], default_root_dir=folder,
        )  # fmt: skip
        trainer.fit(Regression(model()), data)
        return min(b - a for a, b in pairwise(ends))

    return epoch


def main() -> None:
    print(machine("jax", "flax", "optax"))
    print()
    print("| model | jit loop, us/step | scan, us/step | Trainer, us/step | Trainer / scan | jit loop / Trainer |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for model in (Tiny, Large):
            data = batches(model)
            contestants = {
                "jit": by_hand(model, scanned=False),
                "scan": by_hand(model, scanned=True),
                "trainer": by_trainer(model, folder),
            }
            runs: dict[str, Callable[[], float]] = {
                name: lambda run=run, data=data: min(run(data) for _ in range(2)) for name, run in contestants.items()
            }
            for run in runs.values():
                run()
            gc.collect()
            f = interleaved(runs, ROUNDS)
            us = {name: median(values) / model.steps * 1e6 for name, values in f.items()}
            print(
                f"| {model.__name__.lower()} | {us['jit']:.1f} | {us['scan']:.1f} | {us['trainer']:.1f} | "
                f"{ratios(f['trainer'], f['scan']):.2f} | {ratios(f['jit'], f['trainer']):.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
