"""Runs that are killed for real. A script: forks a child for every run, and prints as JSON what is wrong with each.

Importing torch takes seconds, a fork none. One thread a process: a child has no others than the one that forked it.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import pickle
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import torch

import functrain_torch as pl
from functrain.callbacks import EarlyStopping, ModelCheckpoint
from functrain.loggers import CSVLogger
from tests import inside
from tests.resume import torch_cases as cases
from tests.resume.common import differences, disturb, final
from tests.resume.kills import STAGES, kill_at


def in_child(work: Callable[[], Any]) -> tuple[int, Any]:
    """Run in a forked child; gives the signal that ended it (0 for none), and what the work gave."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                given = work()
        except BaseException:
            given = "".join(traceback.format_exc())
        with os.fdopen(writing, "wb") as file:
            pickle.dump(given, file)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        content = file.read()
    _, status = os.waitpid(child, 0)
    return (os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0), pickle.loads(content) if content else None


class Killing(cases.Net):
    """Kills its own process at the n-th call of one of its methods."""

    where, n = "", 0

    def count(self, where: str) -> None:
        if where == Killing.where:
            Killing.n -= 1
            if not Killing.n:
                os.kill(os.getpid(), signal.SIGKILL)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.count("training_step")
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        super().validation_step(batch, batch_idx)
        self.count("validation_step")

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.count("optimizer_step")

    def on_train_epoch_end(self) -> None:
        self.count("on_train_epoch_end")

    def on_train_end(self) -> None:
        self.count("on_train_end")


class HalfWritten:
    """Stands for torch in the module that writes checkpoints: the n-th is killed when half of it is on the disk."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def save(self, value: Any, file: Any) -> None:
        if Killing.where == "writing":
            Killing.n -= 1
            if not Killing.n:
                whole = io.BytesIO()
                torch.save(value, whole)
                file.write(whole.getvalue()[: whole.tell() // 2])
                file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
        torch.save(value, file)


def train(directory: str) -> dict[str, Any]:
    """One process' part of the run: it goes on where the last one was killed."""
    os.makedirs(directory, exist_ok=True)
    begun = saved(directory)
    pl.seed_everything(77 if begun else 1)
    if begun:
        disturb()
    trainer = pl.Trainer(
        max_epochs=cases.EPOCHS, log_every_n_steps=1, accumulate_grad_batches=2, val_check_interval=0.5,
        logger=CSVLogger(directory, "logs", version=0), progress_bar_refresh_rate=0, weights_summary=None,
        num_sanity_val_steps=0,
        callbacks=[
            EarlyStopping("val_loss", patience=3),
            ModelCheckpoint(directory, "best-{step}", monitor="val_loss", save_top_k=2, mode="min"),
            ModelCheckpoint(directory, "new-{step}", every_n_train_steps=1, save_last=True),
        ],
    )  # fmt: skip
    module = Killing()
    inside.save_through(HalfWritten())
    trainer.fit(module, cases.shuffled(), cases.validation(), ckpt_path="last")
    state = json.dumps(final(trainer, []), default=plain)
    state = state.replace(directory, "HERE")
    return {"final": json.loads(state), "rows": rows(directory), "files": visible(directory)}


def saved(directory: str) -> bool:
    """Is there a checkpoint to continue from?"""
    return any(name.endswith(".ckpt") for name in visible(directory))


def visible(directory: str) -> list[str]:
    """The files, without what a killed process was writing or had locked: that is swept later."""
    return sorted(name for name in os.listdir(directory) if not name.startswith("."))


def plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return [str(value.dtype), value.tolist()]
    return value.hex() if isinstance(value, bytes) else repr(value)


def rows(directory: str) -> list[list[tuple[str, str]]]:
    """The log."""
    with open(f"{directory}/logs/version_0/metrics.csv") as file:
        return [sorted((k, v) for k, v in row.items() if v) for row in csv.DictReader(file)]


def killed(directory: str, where: str, ns: list[int]) -> list[str]:
    """Killed again and again, at the n-th call in every process; then left alone. What differs in the end?"""
    continued = True
    for n in ns:

        def work(n: int = n) -> Any:
            Killing.where, Killing.n = where, n
            if where in STAGES:
                kill_at(where, n)
            return train(directory)

        ended, given = in_child(work)
        if ended != signal.SIGKILL:
            return [f"was not killed at {where} {n}: {given}"]
        continued = saved(directory)
    ended, given = in_child(lambda: train(directory))
    if ended or not isinstance(given, dict):
        return [f"the run that continues ended with {ended}: {given}"]
    found = differences(given["final"], REFERENCE["final"])
    found += [f"row {row}" for row in given["rows"] if row not in REFERENCE["rows"]]
    found += [f"no row {row}" for row in REFERENCE["rows"] if row not in given["rows"]]
    if continued:  # and not begun anew, in the log of the killed run
        found += [f"twice {row}" for i, row in enumerate(given["rows"]) if row in given["rows"][:i]]
    found += [f"no file {name}" for name in REFERENCE["files"] if name not in given["files"]]
    found += [f"file {name}" for name in given["files"] if name not in REFERENCE["files"]]
    return found[:5]


def interrupted(directory: str, where: str, n: int, presses: int) -> dict[str, Any]:
    """Ctrl-C in a real process: what was called, what is on the disk, and does it go on from there?"""

    def work() -> Any:
        os.makedirs(directory)
        pl.seed_everything(1)
        calls: list[str] = []

        class Pressed(cases.Net):
            seen = 0

            def press(self, here: str) -> None:
                if here == where:
                    Pressed.seen += 1
                    if Pressed.seen == n:
                        for _ in range(presses):
                            os.kill(os.getpid(), signal.SIGINT)

            def training_step(self, batch: Any, batch_idx: int) -> Any:
                calls.append("training_step")
                self.press("training_step")
                return super().training_step(batch, batch_idx)

            def validation_step(self, batch: Any, batch_idx: int) -> Any:
                calls.append("validation_step")
                self.press("validation_step")
                return super().validation_step(batch, batch_idx)

        class Noting(pl.Callback):
            def on_keyboard_interrupt(self, trainer: Any, pl_module: Any) -> None:
                calls.append("on_keyboard_interrupt")

            def on_train_end(self, trainer: Any, pl_module: Any) -> None:
                calls.append("on_train_end")

            def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
                calls.append("on_train_epoch_end")

            def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
                calls.append("teardown")

            def checkpoint(self, trainer: Any, pl_module: Any, moment: str) -> None:
                if moment == "interrupt":
                    trainer.save_checkpoint(f"{directory}/interrupt.ckpt")

        case = (Pressed, *cases.CASES["everything"][1:])
        trainer, module, train_loader, val = cases.parts(case, 1, [Noting(), *cases.watchers(CASE)])
        trainer.fit(module, train_loader, val)
        after = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        return {
            "calls": calls, "interrupted": trainer.interrupted, "handler back": after, "rows": len(trainer.logger.rows),
            "grad": torch.is_grad_enabled(), "training": module.training, "files": os.listdir(directory),
        }  # fmt: skip

    ended, given = in_child(work)
    if ended or not isinstance(given, dict):
        return {"error": f"ended with {ended}: {given}"}
    if given["files"]:

        def resume() -> Any:
            saved = (f"{directory}/interrupt.ckpt", given["rows"])
            found, wanted = cases.continued(CASE, saved), WHOLE
            return differences(found, {**wanted, "rows": wanted["rows"][given["rows"] :]})[:5]

        given["differences"] = in_child(resume)[1]
    return given


class Growing(cases.Plain):
    """Every checkpoint needs more room than the one before."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["ballast"] = torch.zeros(60_000 * self.global_step, dtype=torch.uint8)


def full_disk(directory: str) -> Any:
    """No file may be longer than this: what is said, what is told to callbacks, and what is left?"""

    def work() -> Any:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (250_000, 250_000))
        told: list[str] = []

        class Told(pl.Callback):
            def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
                told.append(type(exception).__name__)

        save = ModelCheckpoint(directory, "{step}", every_n_train_steps=1, save_top_k=1)
        trainer = pl.Trainer(max_epochs=1, callbacks=[save, Told()], logger=False, progress_bar_refresh_rate=0)
        try:
            trainer.fit(Growing(), cases.shuffled())
        except OSError as error:
            return {"said": str(error), "told": told, "step": trainer.global_step, "best": save.best_model_path}

    ended, given = in_child(work)
    if ended or not isinstance(given, dict):
        return {"said": f"ended with {ended}: {given}"}
    given["files"] = sorted(os.listdir(directory))
    given["left"] = inside.read(given["best"])["global_step"]
    return given


def killed_while_writing(directory: str) -> dict[str, Any]:
    """A child writes a big file again and again; it is killed when a half of one is seen. What has the name then?"""
    os.makedirs(directory)
    path = f"{directory}/big.ckpt"
    child = os.fork()
    if not child:
        for n in range(10_000):
            inside.write(path, {"n": n, "big": torch.full((4_000_000,), float(n))})
        os._exit(0)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        names = os.listdir(directory)
        half = [name for name in names if name.endswith(".tmp")]
        if "big.ckpt" in names and half and os.path.getsize(f"{directory}/{half[0]}") > 1_000_000:
            break
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    content = inside.read(path)
    return {"whole": bool((content["big"] == content["n"]).all()), "others": len(os.listdir(directory)) - 1}


CASE = cases.CASES["everything"]
KILLS = {
    "training_step": [[1], [4], [3, 3, 3]],
    "optimizer_step": [[3]],
    "validation_step": [[3]],
    "on_train_epoch_end": [[1]],
    "on_train_end": [[1]],
    "writing": [[1], [4], [3, 3]],
    **{stage: [[1], [4], [3, 3]] for stage in STAGES},
}
REFERENCE: Any = None
WHOLE: Any = None


def main(directory: str) -> None:
    global REFERENCE, WHOLE
    warnings.simplefilter("error")
    # Where a kill falls between removing the old best file and writing 'last' anew, this is said; nothing is lost.
    warnings.filterwarnings("default", "ModelCheckpoint: the best checkpoint of the run that continues")
    # Killed before its first checkpoint, a run begins anew in the same directory of logs.
    warnings.filterwarnings("default", ".*holds what another run has logged")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        train(f"{directory}/first")  # here, so that what torch imports at its first step is there for all children
    ended, REFERENCE = in_child(lambda: train(f"{directory}/reference"))
    assert not ended, ended
    assert isinstance(REFERENCE, dict), REFERENCE
    for where, many in KILLS.items():
        for ns in many:
            name = f"{where} {ns}"
            results[name] = killed(f"{directory}/{where}{'-'.join(map(str, ns))}", where, ns)
    os.makedirs(f"{directory}/whole")
    WHOLE = in_child(lambda: cases.whole(CASE, f"{directory}/whole", ())[0])[1]
    for where, n, presses in INTERRUPTS:
        name = f"interrupt {where} {n} {presses}"
        results[name] = interrupted(f"{directory}/{name.replace(' ', '-')}", where, n, presses)
    results["full disk"] = full_disk(f"{directory}/full")
    results["killed while writing"] = killed_while_writing(f"{directory}/big")
    print(json.dumps(results))


INTERRUPTS = [
    ("training_step", 1, 1), ("training_step", 5, 1), ("training_step", 7, 1), ("training_step", 10, 1),
    ("validation_step", 3, 1), ("training_step", 5, 2), ("validation_step", 3, 2),
]  # fmt: skip

if __name__ == "__main__":
    main(sys.argv[1])
