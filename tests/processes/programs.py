"""What the processes run: a model of one weight, in torch or in JAX, and what is seen of its fit."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from datetime import timedelta
from importlib import import_module
from typing import Any

import numpy as np

from functrain import Callback
from functrain.callbacks import EarlyStopping, ModelCheckpoint
from functrain.loggers import CSVLogger

BATCHES = 6
REDUCTIONS = ("mean", "sum", "min", "max")
framework: Any = None
Line: Any = None
Noisy: Any = None


def choose(name: str) -> None:
    """The framework of this process."""
    global framework, Line, Noisy
    framework = import_module(f"functrain_{name}")
    Line = (_torch_line if name == "torch" else _jax_line)()
    Noisy = (_torch_noisy if name == "torch" else _jax_noisy)()


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


def _torch_noisy() -> Any:
    import torch
    import torchmetrics

    class Noisy(framework.LightningModule):
        """A line with noise, whose gradients are those of all processes."""

        def __init__(self, world: Any) -> None:
            super().__init__()
            self.w = torch.nn.Parameter(torch.zeros(1))
            self.world = world
            self.mean = torchmetrics.MeanMetric()

        def training_step(self, batch, batch_idx):
            loss = ((self.w - batch * torch.rand(())) ** 2).mean()
            self.log("own", loss, on_epoch=True)
            self.mean.update(loss.detach())
            self.log("mean", self.mean, on_step=False, on_epoch=True)
            return {"loss": loss}

        def on_before_optimizer_step(self, optimizer):
            self.w.grad = self.world.sum(self.w.grad) / self.world.size

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=1e-3, momentum=0.5)

    return Noisy


def _jax_noisy() -> Any:
    import jax
    import jax.numpy as jnp
    import optax
    from jax.experimental import io_callback

    def summed(world: Any) -> optax.GradientTransformation:
        def mean(grad: Any) -> Any:
            return np.asarray(world.sum(np.asarray(grad)) / world.size, np.float32)

        def update(grads: Any, state: Any, params: Any = None) -> Any:
            asked = jax.tree.map(lambda g: io_callback(mean, jax.ShapeDtypeStruct(g.shape, g.dtype), g), grads)
            return asked, state

        return optax.GradientTransformation(lambda params: optax.EmptyState(), update)

    class Noisy(framework.Module):
        """A line with noise, whose gradients are those of all processes."""

        def __init__(self, world: Any) -> None:
            self.params = {"w": jnp.zeros(1)}
            self.world = world

        def training_step(self, batch, batch_idx):
            loss = ((self.params["w"] - batch * jax.random.uniform(self.next_key())) ** 2).mean()
            self.log("own", loss, on_epoch=True)
            return {"loss": loss}

        def configure_optimizers(self):
            return optax.chain(summed(self.world), optax.sgd(1e-3, momentum=0.5))

    return Noisy


def array(values: Any) -> Any:
    """An array of the host in the form that loaders of the framework give."""
    if framework.__name__ == "functrain_torch":
        import torch

        return torch.from_numpy(values)
    return values


def weight(module: Any) -> float:
    """The one weight of a module."""
    return float((module.params["w"] if hasattr(module, "params") else module.w)[0])


def rank() -> int:
    """The number of this process."""
    return int(os.environ["RANK"])


class Batches:
    """A loader of so many batches of equal values."""

    def __init__(self, count: int = BATCHES, first: float = 1.0, rows: int = 2) -> None:
        self.count, self.first, self.rows = count, first, rows

    def __iter__(self) -> Any:
        return (array(np.full((self.rows, 1), self.first + i, np.float32)) for i in range(self.count))

    def __len__(self) -> int:
        return self.count


def trainer(folder: str, *callbacks: Any, **flags: Any) -> Any:
    saves = any(isinstance(each, ModelCheckpoint) for each in callbacks)
    quiet = {
        "logger": False, "checkpoint_callback": saves, "progress_bar_refresh_rate": 0, "weights_summary": None,
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


def fails(folder: str, update: int | None) -> None:
    """A hook of one process has a mistake."""

    class Fails(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any) -> None:
            if trainer.global_step == update:
                raise ValueError("a mistake")

    trainer(folder, Fails()).fit(Line(), Batches())


# metrics and files

EACH = [(name, {"reduce_fx": name, "on_step": True, "on_epoch": True, "sync_dist": True}) for name in REDUCTIONS]


def metrics(folder: str, first: float, rows: int, logs: Any = EACH) -> dict[str, Any]:
    """A fit of one epoch of three batches and a test, and all that is told of what they logged."""
    logger = CSVLogger(folder, name="logs")
    made = trainer(folder, logger=logger, log_every_n_steps=1, max_epochs=1)
    with warnings.catch_warnings(record=True) as told, contextlib.redirect_stdout(io.StringIO()) as out:
        warnings.simplefilter("always")
        made.fit(Line(logs), Batches(3, first, rows), Batches(2, first, rows))
        known = {name: float(value) for name, value in made.callback_metrics.items()}
        results = made.test(dataloaders=Batches(2, first, rows))
    return {
        "known": known, "results": results, "warnings": [str(w.message) for w in told], "out": out.getvalue(),
        "log_dir": logger.log_dir, "logged": {name: float(value) for name, value in made.logged_metrics.items()},
    }  # fmt: skip


def validate(folder: str, count: int) -> list[Any]:
    """A validation of so many batches: 1, 2, 3 and so on."""
    return trainer(folder).validate(Line(), Batches(count), verbose=False)


def log_by_hand(folder: str, kind: str) -> str:
    """A module's own calls of its logger, in every process."""
    logger = getattr(framework.loggers, kind)(folder, name="logs")

    class ByHand(Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            pl_module.logger.log_metrics({"by_hand": float(trainer.global_rank)}, step=trainer.global_step)
            pl_module.logger.log_hyperparams({"rank": trainer.global_rank})
            if kind == "TensorBoardLogger":
                pl_module.logger.experiment.add_text("name", "value")

    trainer(folder, ByHand(), logger=logger, max_epochs=1).fit(Line(), Batches())
    return logger.log_dir


# checkpoints


def checkpoints(folder: str, first: float, **arguments: Any) -> dict[str, Any]:
    """A fit that saves, a test of its best state, and a fit that continues from it."""
    saves = ModelCheckpoint(folder, monitor="val_loss", save_last=True, **arguments)
    made = trainer(folder, saves, max_epochs=2)
    module = Line()
    made.fit(module, Batches(3, 1.0), Batches(2, first))
    made.test(dataloaders=Batches(2, first), ckpt_path="best", verbose=False)
    again = trainer(folder, max_epochs=3)
    with warnings.catch_warnings(record=True) as told, contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("always")
        again.fit(Line(), Batches(3, 1.0), Batches(2, first), ckpt_path=saves.best_model_path)
    return {
        "best": saves.best_model_path, "score": saves.best_model_score, "last": saves.last_model_path,
        "kept": saves.best_k_models, "at": at(again), "warnings": [str(w.message) for w in told],
    }  # fmt: skip


def saved_by_time(folder: str, microseconds: int) -> list[str]:
    """The files of a run that saves by a clock on the wall, which each process has of its own."""
    saves = ModelCheckpoint(folder, train_time_interval=timedelta(microseconds=microseconds), save_top_k=-1)
    trainer(folder, saves, max_epochs=1).fit(Line(), Batches(60))
    return sorted(saves.best_k_models)


def stops_early(folder: str, worse: float) -> tuple[int, int, int]:
    """A metric of each process alone, which gets better in one and worse in the other."""

    class Own(Line):
        def on_validation_epoch_end(self) -> None:
            self.log("own", self.current_epoch * worse)

    made = trainer(folder, EarlyStopping("own", patience=1), max_epochs=6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.fit(Own(), Batches(3), Batches(1))
    return at(made)


def nowhere_to_save(folder: str) -> None:
    trainer(folder, ModelCheckpoint(os.path.join(folder, "file", "below"))).fit(Line(), Batches())


def manifest(folder: str) -> str:
    """A fit that logs into a directory of its own."""
    trainer(folder, logger=CSVLogger(folder, name="logs")).fit(Line(), Batches())
    return framework.__name__
