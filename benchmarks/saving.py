"""What a checkpoint costs a run that goes on meanwhile: how long the loop is held, against the copy of the state alone
and a write that it waits for; and what all defaults (bar, logger, checkpoint) add to an epoch of tiny JAX steps.

Minima of interleaved rounds, on the wall clock: a thread's time is not the loop's.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import warnings
from collections.abc import Callable
from time import perf_counter
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import torch

import functrain_jax as ft
from benchmarks.measure import interleaved, machine
from functrain_jax import checkpoint
from functrain_torch import ckpt

ROUNDS = 7
STEPS, EPOCHS = 2000, 4
SIZES = {"small: 12 arrays of 16 KiB": (12, (64, 64)), "large: 8 arrays of 16 MiB": (8, (2048, 2048))}


def held(begin: Callable[[], Any]) -> float:
    """Milliseconds until the run may go on; the write that was begun is awaited outside of them."""
    start = perf_counter()
    saving = begin()
    taken = perf_counter() - start
    if saving is not None:
        saving.wait()
    return 1e3 * taken


def states(folder: str) -> None:
    print("| state | world | held | the copy alone | a write that is waited for |")
    print("|---|---|---|---|---|")
    for what, (count, shape) in SIZES.items():
        tensors = {f"p{i}": torch.ones(shape) for i in range(count)}
        arrays = {f"p{i}": jnp.ones(shape) for i in range(count)}
        worlds = {
            "torch": (ckpt, tensors, lambda t=tensors: [x.clone() for x in t.values()] and None),
            "JAX": (checkpoint, arrays, lambda a=arrays: [np.array(x) for x in a.values()] and None),
        }
        for world, (files, state, copies) in worlds.items():
            value, path = {"state_dict": state}, os.path.join(folder, f"{world}.ckpt")
            runs: dict[str, Callable[[], float]] = {
                "held": lambda files=files, value=value, path=path: held(lambda: files.begin(path, value)),
                "copy": lambda copies=copies: held(copies),
                "write": lambda files=files, value=value, path=path: held(lambda: files.write(path, value)),
            }
            best = {name: min(values) for name, values in interleaved(runs, ROUNDS).items()}
            print(f"| {what} | {world} | {best['held']:.2f} ms | {best['copy']:.2f} ms | {best['write']:.1f} ms |")


class Line(ft.Module):
    """One weight."""

    def __init__(self) -> None:
        self.params = {"w": jnp.zeros(1)}

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = ((self.params["w"] - batch) ** 2).mean()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        return optax.sgd(0.05)


class Times(ft.Callback):
    """Milliseconds from the start of an epoch to the start of the next, its checkpoint included."""

    def __init__(self) -> None:
        self.starts: list[float] = []

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.starts.append(perf_counter())

    def best(self) -> float:
        return 1e3 * min(b - a for a, b in zip(self.starts[1:], self.starts[2:], strict=False))


def epoch(module: Any, loader: Any, folder: str, defaults: bool) -> float:
    times = Times()
    bare = {"logger": False, "checkpoint_callback": False, "progress_bar_refresh_rate": 0, "weights_summary": None}
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        trainer = ft.Trainer(
            max_epochs=EPOCHS, callbacks=[times], default_root_dir=folder, **({} if defaults else bare)
        )  # fmt: skip
        trainer.fit(module, loader)
    return times.best()


def epochs(folder: str) -> None:
    module, loader = Line(), [np.full((1,), 2.0, np.float32)] * STEPS
    runs: dict[str, Callable[[], float]] = {
        name: lambda defaults=defaults: epoch(module, loader, folder, defaults)
        for name, defaults in (("bare", False), ("defaults", True))
    }
    for run in runs.values():
        run()
    best = {name: min(values) for name, values in interleaved(runs, ROUNDS).items()}
    added = best["defaults"] - best["bare"]
    print(f"\nAn epoch of {STEPS} tiny JAX steps: {best['bare']:.1f} ms; with all defaults {added:.1f} ms more.")


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print(machine("torch", "jax"))
    print()
    with tempfile.TemporaryDirectory() as folder:
        states(folder)
        epochs(folder)


if __name__ == "__main__":
    main()
