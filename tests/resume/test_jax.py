"""JAX: the same promises, on compiled runs: saved anywhere, killed or interrupted, the very bits in the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import functrain_jax as ft
from functrain.callbacks import EarlyStopping, ModelCheckpoint
from tests import inside
from tests.resume import jax_cases as cases
from tests.resume.common import differences, final

ROOT = Path(__file__).parents[2]
CASE = cases.CASES["everything"]

pytestmark = pytest.mark.usefixtures("compiled_once")


def check(case, expected, saved, places, counted=False):
    for place in places:
        path, rows = saved[place]
        found = cases.continued(case, (path, rows), counted)
        assert not differences(found, {**expected, "rows": expected["rows"][rows:]}, f"saved at {place}: "), place


def test_every_batch(tmp_path):
    expected, saved = cases.whole(CASE, tmp_path, ("on_train_batch_end",))
    check(CASE, expected, saved, [("on_train_batch_end", n) for n in range(1, 15)])


@pytest.mark.parametrize("name", [name for name in cases.CASES if name != "everything"])
def test_every_kind_of_state(name, tmp_path):
    expected, saved = cases.whole(cases.CASES[name], tmp_path, ("on_train_batch_end",))
    check(cases.CASES[name], expected, saved, [("on_train_batch_end", n) for n in (1, 5, 7, 10)])


EVENTS = (
    "on_train_start", "on_epoch_start", "on_train_epoch_start", "on_batch_end", "on_validation_end",
    "on_train_epoch_end", "log_step", "checkpoint", "should_stop", "on_train_end",
)  # fmt: skip
IN_A_VALIDATION = ("on_validation_start", "on_validation_batch_end", "on_validation_epoch_end")


def test_every_event(tmp_path):
    expected, saved = cases.whole(CASE, tmp_path, EVENTS, counted=True)
    last = {event: max(n for e, n in saved if e == event) for event in EVENTS}
    check(CASE, expected, saved, [(event, (n + 1) // 2) for event, n in last.items()], counted=True)


def test_in_a_validation(tmp_path):
    expected, saved = cases.whole(CASE, tmp_path, IN_A_VALIDATION)
    check(CASE, expected, saved, [(event, 2) for event in IN_A_VALIDATION])


def test_many_batches_a_dispatch(tmp_path):
    """Without a hook at every batch: saved by a ModelCheckpoint, between dispatches of several batches."""
    case = (cases.Linear, cases.arrays, {"accumulate_grad_batches": 2, "log_every_n_steps": 3})
    flags = {"max_epochs": 3}

    def run(seed, directory, path=None):
        save = ModelCheckpoint(directory, "{step}", every_n_train_steps=2, save_top_k=-1)
        trainer, module, train, val = cases.parts(case, seed, [save], **flags)
        trainer.fit(module, train, val, ckpt_path=path)
        assert not inside.per_batch(trainer)
        return {**final(trainer, trainer.logger.rows), "callbacks": None}

    expected = run(1, tmp_path / "whole")
    names = sorted(os.listdir(tmp_path / "whole"))
    assert len(names) == 6
    for name in names:
        found = run(99, tmp_path / name, str(tmp_path / "whole" / name))
        rows = found.pop("rows")
        assert rows == expected["rows"][len(expected["rows"]) - len(rows) :]
        assert not differences(found, {key: expected[key] for key in found}, f"{name}: ")


@pytest.mark.parametrize("hook", ["on_train_batch_start", "on_batch_start"])
def test_in_the_middle_of_a_step_the_state_is_not_whole(hook, tmp_path):
    trainer, module, train, val = cases.parts(CASE, 1, [cases.Saver(tmp_path, (hook,))])
    with pytest.raises(ft.ConfigurationError, match=r"called in the middle of a training step"):
        trainer.fit(module, train, val)


# Ctrl-C


class Pressing:
    """A loader of arrays that presses Ctrl-C when its n-th batch is asked for."""

    def __init__(self, inner, n: int) -> None:
        self.inner, self.n = inner, n

    def __len__(self):
        return len(self.inner)

    def __iter__(self):
        for batch in self.inner:
            self.n -= 1
            if not self.n:
                os.kill(os.getpid(), signal.SIGINT)
            yield batch

    def set_epoch(self, epoch):
        self.inner.set_epoch(epoch)

    def state_dict(self):
        return self.inner.state_dict()

    def load_state_dict(self, state):
        self.inner.load_state_dict(state)


class AtTheEnd(ft.Callback):
    def __init__(self, path) -> None:
        self.path, self.rows = path, 0

    def checkpoint(self, trainer, pl_module, moment):
        if moment == "interrupt":
            self.rows = len(trainer.logger.rows)
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("n", [1, 4, 5, 7, 9])
@pytest.mark.parametrize("loader", [cases.arrays, cases.RaggedWithState])
def test_ctrl_c(loader, n, tmp_path):
    """In the middle of a dispatch: what was dispatched is finished, and the run goes on from there."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        case = (cases.Linear, loader, CASE[2])
        expected, _ = cases.whole(case, tmp_path, ())
        save = AtTheEnd(str(tmp_path / "interrupt.ckpt"))
        trainer, module, _, val = cases.parts(case, 1, [save, EarlyStopping("val_loss", patience=9)])
        trainer.fit(module, Pressing(loader(), n), val)
        assert trainer.interrupted
        assert trainer.global_step < expected["clock"]["update"]
        found = cases.continued(case, (save.path, save.rows))
        assert not differences(found, {**expected, "rows": expected["rows"][save.rows :]})
    finally:
        signal.signal(signal.SIGINT, before)


# a real process, killed


KILLED = """
import os, signal, sys
from functrain.callbacks import ModelCheckpoint
from tests.resume import jax_cases as cases

class Kill(cases.ft.Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (1, 3):
            os.kill(os.getpid(), signal.SIGKILL)

save = ModelCheckpoint(sys.argv[1], "{step}", every_n_train_steps=1, save_last=True)
trainer, module, train, val = cases.parts(cases.CASES["everything"], 1, [Kill(), save])
trainer.fit(module, train, val)
"""


# Where the kill falls between the best checkpoint and 'last', this is said; nothing is lost.
@pytest.mark.filterwarnings("default:ModelCheckpoint. the best checkpoint of the run that continues")
def test_a_process_that_is_killed(tmp_path):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'adapters'}"}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "kept")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    trainer, module, train, val = cases.parts(CASE, 1, [])
    trainer.fit(module, train, val)
    expected = final(trainer, [])
    save = ModelCheckpoint(tmp_path / "kept", "{step}", every_n_train_steps=1, save_last=True)
    trainer, module, train, val = cases.parts(CASE, 99, [save])
    trainer.fit(module, train, val, ckpt_path=str(tmp_path / "kept" / "last.ckpt"))
    found = final(trainer, [])
    found["rng"].pop("torch", None)  # of this process alone, where other tests have loaded it
    expected["rng"].pop("torch", None)
    for key in ("engine", "rng", "clock", "metrics"):
        assert not differences(found[key], expected[key], key)


def test_weights_are_where_the_user_left_them(tmp_path):
    """A checkpoint of another module changes nothing; neither does one that is damaged."""
    trainer, module, train, val = cases.parts(CASE, 1, [], max_epochs=1)
    trainer.fit(module, train, val)
    path = tmp_path / "c.ckpt"
    trainer.save_checkpoint(path)
    other = cases.Linear()
    with pytest.raises(ft.CheckpointError, match=r"c\.ckpt: is of another module than Linear"):
        cases.parts(CASE, 1, [])[0].fit(other, cases.arrays(), ckpt_path=str(path))
    assert np.array_equal(other.params["w"], np.full((4, 3), 0.1, np.float32))
