"""What the processes run: a model of one weight, in torch or in JAX, and what is seen of its fit."""

from __future__ import annotations

import contextlib
import io
import os
from importlib import import_module
from typing import Any

import numpy as np

from functrain import Callback

BATCHES = 6
framework: Any = None
Line: Any = None


def choose(name: str) -> None:
    """The framework of this process."""
    global framework, Line
    framework = import_module(f"functrain_{name}")
    Line = (_torch_line if name == "torch" else _jax_line)()


def _torch_line() -> Any:
    import torch

    class Line(framework.LightningModule):
        def __init__(self, logs: Any = ()) -> None:
            super().__init__()
            self.w = torch.nn.Parameter(torch.zeros(1))
            self.logs = logs

        def training_step(self, batch, batch_idx):
            for name, options in self.logs:
                self.log(name, batch.mean(), **options)
            return ((self.w - batch) ** 2).mean()

        def validation_step(self, batch, batch_idx):
            self.log("val_loss", batch.mean(), sync_dist=True)

        test_step = validation_step

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return Line


def _jax_line() -> Any:
    import jax.numpy as jnp
    import optax

    class Line(framework.Module):
        def __init__(self, logs: Any = ()) -> None:
            self.params = {"w": jnp.zeros(1)}
            self.logs = logs

        def training_step(self, batch, batch_idx):
            for name, options in self.logs:
                self.log(name, batch.mean(), **options)
            return ((self.params["w"] - batch) ** 2).mean()

        def validation_step(self, batch, batch_idx):
            self.log("val_loss", batch.mean(), sync_dist=True)

        test_step = validation_step

        def configure_optimizers(self):
            return optax.sgd(0.1)

    return Line


class Batches:
    """A loader of so many batches of equal values."""

    def __init__(self, count: int = BATCHES, first: float = 1.0, rows: int = 2) -> None:
        self.count, self.first, self.rows = count, first, rows

    def __iter__(self) -> Any:
        made = (np.full((self.rows, 1), self.first + i, np.float32) for i in range(self.count))
        if framework.__name__ == "functrain_torch":
            import torch

            return map(torch.from_numpy, made)
        return made

    def __len__(self) -> int:
        return self.count


def trainer(folder: str, *callbacks: Any, **flags: Any) -> Any:
    quiet = {
        "logger": False, "checkpoint_callback": False, "progress_bar_refresh_rate": 0, "weights_summary": None,
        "num_sanity_val_steps": 0, "default_root_dir": folder, "max_epochs": 2, "min_epochs": 0,
    }  # fmt: skip
    return framework.Trainer(callbacks=list(callbacks), **{**quiet, **flags})


def at(its_trainer: Any) -> tuple[int, int, int]:
    """Where a run stands: epoch, batch, updates."""
    return tuple(its_trainer.run.clock[:3])


# who is who


def ranks(folder: str) -> dict[str, Any]:
    made = trainer(folder)
    made.fit(Line(), Batches())
    module = made.module
    return {
        "trainer": (made.global_rank, made.local_rank, made.node_rank, made.world_size, made.is_global_zero),
        "module": (module.global_rank, module.local_rank),
    }


# stopping


class StopsAt(Callback):
    """Asks for the run's end at this update, from between two batches."""

    def __init__(self, update: int | None) -> None:
        self.update = update

    def on_train_batch_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.global_step == self.update:
            trainer.should_stop = True


class InterruptsAt(Callback):
    """The process gets a signal at this update."""

    def __init__(self, update: int | None, number: int) -> None:
        self.update, self.number = update, number

    def on_train_batch_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.global_step == self.update:
            os.kill(os.getpid(), self.number)


class StopsAfterEpoch(Callback):
    """Asks for the run's end at the end of this epoch."""

    def __init__(self, epoch: int | None) -> None:
        self.epoch = epoch

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == self.epoch:
            trainer.should_stop = True


def stop_at(folder: str, update: int | None) -> dict[str, Any]:
    made = trainer(folder, StopsAt(update), max_epochs=1)
    made.fit(Line(), Batches(200))
    return {"at": at(made), "should_stop": made.should_stop, "calls": made.world.calls}


def stop_after_epoch(folder: str, epoch: int | None) -> tuple[int, int, int]:
    made = trainer(folder, StopsAfterEpoch(epoch), max_epochs=4)
    made.fit(Line(), Batches())
    return at(made)


def interrupt_at(folder: str, update: int | None, number: int) -> dict[str, Any]:
    made = trainer(folder, InterruptsAt(update, number), max_epochs=1)
    ended = None
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            made.fit(Line(), Batches(200))
        except SystemExit as error:
            ended = error.code
    return {"at": at(made), "interrupted": made.interrupted, "ended": ended}


def time_over(folder: str, late: bool) -> tuple[int, int, int]:
    made = trainer(folder, max_epochs=1, max_time={"hours": 1})

    class Late(Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            if late:
                trainer.run.stop.deadline = 0.0

    made.callbacks.append(Late())
    made.fit(Line(), Batches(200))
    return at(made)


def uneven(folder: str, count: int) -> None:
    trainer(folder).fit(Line(), Batches(count))
