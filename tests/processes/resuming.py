"""A run of which each process draws its own data and noise, cut short in the middle of an epoch and continued."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import random
import warnings
from typing import Any

import numpy as np

from functrain import Callback, seed_everything
from functrain.callbacks import ModelCheckpoint
from functrain.trainer import world
from tests.processes import programs

SAMPLES = 14
EPOCHS = 2


class Batches:
    """A loader of two samples a batch, in an order that is drawn anew for every epoch.

    Args:
        keeps_place: it tells its own place, and draws from a generator that nobody else knows.
    """

    def __init__(self, seed: int, first: float) -> None:
        self.data = first + np.arange(SAMPLES, dtype=np.float32)
        self.generator = np.random.default_rng(seed)

    def __len__(self) -> int:
        return SAMPLES // 2

    def __iter__(self) -> Any:
        yield from self._from(np.random.permutation(SAMPLES) + self.generator.permutation(SAMPLES), 0)

    def _from(self, order: Any, start: int) -> Any:
        for i in range(start, len(self)):
            yield programs.array(self.data[order[2 * i : 2 * i + 2] % SAMPLES][:, None])


class WithPlace(Batches):
    """Such a loader that tells its place by itself."""

    def __init__(self, seed: int, first: float) -> None:
        super().__init__(seed, first)
        self.shuffler = random.Random(seed)
        self.order: list[int] = []
        self.next = 0

    def __iter__(self) -> Any:
        if self.next in (0, len(self)):
            self.order, self.next = self.shuffler.sample(range(SAMPLES), SAMPLES), 0
        for batch in self._from(np.array(self.order), self.next):
            self.next += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        return {"order": self.order, "next": self.next}

    def load_state_dict(self, state_dict: Any) -> None:
        self.order, self.next = list(state_dict["order"]), int(state_dict["next"])


class Watches(Callback):
    """Keeps what it saw, counts what it saw by a number of its own, and ends the run where it is told to."""

    def __init__(self, path: str | None, after: int | None) -> None:
        self.path, self.after = path, after
        self.seen: list[Any] = []
        self.drawn: list[float] = []
        self.own: random.Random = random.Random(programs.rank())
        self.sum = 0.0

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.sum += float(batch.sum())
        self.drawn.append(self.own.random())
        self.seen.append([trainer.current_epoch, batch_idx, np.asarray(batch).ravel().tolist(), float(outputs["loss"])])
        if len(self.seen) == self.after:
            trainer.save_checkpoint(self.path)
            raise InterruptedError("killed")

    def state_dict(self) -> dict[str, Any]:
        return {"sum": self.sum}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.sum = state_dict["sum"]


def run(
    folder: str, loader: str, after: int | None = None, path: str | None = None, seed: int = 1, **flags: Any
) -> dict[str, Any]:
    """A fit, and what is seen of it.

    Args:
        loader: the class of its loader.
        after: the batch after which it saves its state and fails; None for an undisturbed run.
        path: where it saves to; with no `after`, where it continues from.
    """
    rank = programs.rank()
    seed_everything(10 * seed + rank)
    watches = Watches(path, after)
    watches.own.seed(10 * seed + rank)
    made = programs.trainer(folder, watches, Same(), max_epochs=EPOCHS, accumulate_grad_batches=2, **flags)
    module = programs.Noisy(made.world)
    batches = globals()[loader](10 * seed + rank, 100.0 * rank)
    with warnings.catch_warnings(record=True) as told, contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("always")
        try:
            made.fit(module, batches, ckpt_path=path if after is None else None)
        except InterruptedError:
            assert after is not None
    return {
        "seen": watches.seen, "drawn": watches.drawn, "sum": watches.sum, "weight": programs.weight(module),
        "metrics": {name: float(value) for name, value in made.callback_metrics.items()},
        "warnings": [str(each.message) for each in told if "sync_dist" not in str(each.message)],
    }  # fmt: skip


def at_once(folder: str, path: str | None = None, seed: int = 1) -> dict[str, Any]:
    """A fit without a hook at every batch, which saves after every window, or continues from one of its files."""
    seed_everything(10 * seed + programs.rank())
    saves = ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)
    made = programs.trainer(folder, *([] if path else [saves]), max_epochs=EPOCHS, accumulate_grad_batches=2)
    module, batches = programs.Noisy(made.world), Batches(10 * seed + programs.rank(), 100.0 * programs.rank())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.fit(module, batches, ckpt_path=path)
    return {
        "weight": programs.weight(module), "clock": made.run.clock, "saved": sorted(saves.best_k_models),
        "metrics": {name: float(value) for name, value in made.callback_metrics.items()},
    }  # fmt: skip


def within(folder: str, number: int | None = None, tunes: bool = True) -> dict[str, Any]:
    """A fit that is set aside in the middle of its first epoch for a short one.

    Args:
        number: the signal that this process gets in the short fit.
    """
    ends: list[Any] = []

    class Signals(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any) -> None:
            if number is not None and trainer.run.clock.batch == 3:
                os.kill(os.getpid(), number)

    class Tunes(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if tunes and trainer.current_epoch == 0 and batch_idx == 2 and trainer.run.outer is None:
                with trainer.stacked(max_steps=40, max_epochs=None, callbacks=[Signals()]):
                    trainer.fit(pl_module, Batches(7, programs.rank()))
                    ends.append((trainer.global_step, trainer.interrupted))

    with contextlib.redirect_stdout(io.StringIO()):
        seed_everything(10 + programs.rank())
        watches = Watches(None, None)
        made = programs.trainer(folder, Tunes(), watches, max_epochs=EPOCHS, accumulate_grad_batches=2)
        module = programs.Noisy(made.world)
        made.fit(module, Batches(10 + programs.rank(), 100.0 * programs.rank()))
    return {
        "ends": ends, "seen": watches.seen, "weight": programs.weight(module), "interrupted": made.interrupted,
        "at": programs.at(made),
    }  # fmt: skip


class Same(Callback):
    """Has the same state in all processes."""

    def state_dict(self) -> dict[str, Any]:
        return {"numbers": [1, 2, 3]}


def kept(folder: str, path: str) -> dict[str, int]:
    """How many bytes a checkpoint holds of the second process, by place."""
    reads = importlib.import_module(f"{programs.framework.__name__}.io")
    io_ = reads.TorchCheckpointIO() if hasattr(reads, "TorchCheckpointIO") else reads.JaxCheckpointIO(None)
    (parts,) = io_.load(path)["others"]
    return {"/".join(map(str, place)): len(io_.pack(part)) for place, part in parts}


def alone(folder: str, path: str, after: int | None = None) -> list[str]:
    """The warnings of a fit of the first process by itself, which begins or continues."""
    if programs.rank():
        return []
    with by_itself():
        return run(folder, "Batches", after, path)["warnings"]


@contextlib.contextmanager
def by_itself() -> Any:
    """Within it this process knows no others."""
    makers, world._makers[:] = list(world._makers), []
    size = os.environ.pop("WORLD_SIZE")
    try:
        yield
    finally:
        world._makers[:] = makers
        os.environ["WORLD_SIZE"] = size


def unstorable(folder: str, path: str) -> None:
    """The second process has a callback whose state is no plain value."""

    class Odd(Same):
        def state_dict(self) -> dict[str, Any]:
            return {"it": object() if programs.rank() else 1}

    made = programs.trainer(folder, Odd(), max_epochs=1)
    made.fit(programs.Line(), programs.Batches())
    made.save_checkpoint(path)
