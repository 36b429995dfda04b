"""Ctrl-C and SIGTERM, sent to real processes: what they say, save, and end with."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import functrain_torch as pl
from tests import inside
from tests.structure.graph import ROOT

SCRIPT = str(Path(__file__).with_name("signalled.py"))


class Process:
    """One run of the script, up to where it says that it is ready."""

    def __init__(self, world: str, folder: Path, how: str = "plain") -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, SCRIPT, world, str(folder), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'adapters'}"},
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n", self.process.communicate()[1]

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def answer(self) -> str:
        """The next line on standard error that says something; the run itself still waits."""
        assert self.process.stderr is not None
        return next(line for line in iter(self.process.stderr.readline, "") if line.strip())

    def finish(self) -> tuple[int, str]:
        """Let it go on to its end; its exit code and what it said."""
        said, _ = self.process.communicate("go on\n", timeout=120)
        return self.process.returncode, said

    def checkpoints(self) -> list[Path]:
        return sorted(self.folder.rglob("*.ckpt"))


@pytest.fixture
def start(tmp_path):
    started: list[Process] = []

    def start(*args: Any) -> Process:
        started.append(Process(args[0], tmp_path, *args[1:]))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.communicate()


def continues_at(said: str) -> tuple[str, int]:
    path = re.search(r"To continue: fit\(\.\.\., ckpt_path='(.*)'\)", said)
    batch = re.search(r"Stopped by .* after batch (\d+)", said)
    assert path, said
    assert batch, said
    return path[1], int(batch[1])


def test_a_machine_that_is_taken_away_leaves_its_state_and_a_code_of_its_own(start):
    run = start("torch")
    run.send(signal.SIGTERM)
    assert "SIGTERM: the run ends after the training" in run.answer()
    code, said = run.finish()
    assert code == 143
    assert "told True" in said
    assert "torn down" in said
    assert "after the fit" not in said
    path, batch = continues_at(said)
    assert inside.read(path)["clock"]["batch"] == batch < 50


def test_ctrl_c_answers_at_once_and_the_fit_says_at_its_end_that_it_was_interrupted(start):
    run = start("torch")
    run.send(signal.SIGINT)
    answered = run.answer()
    assert "Ctrl-C: the run ends after the training" in answered
    assert "Press Ctrl-C again" in answered
    code, said = run.finish()
    assert code == 0
    assert "after the fit" in said
    path, batch = continues_at(said)
    assert inside.read(path)["clock"]["batch"] == batch < 50


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_answered_while_a_compiled_call_runs(start, number):
    run = start("jax")
    run.send(number)
    assert "the run ends after the training batches under way" in run.answer()
    code, said = run.finish()
    assert code == (143 if number == signal.SIGTERM else 0)
    path, _ = continues_at(said)
    assert [path] == [str(path) for path in run.checkpoints() if path.parent.suffix != ".ckpt"]


def test_a_second_sigterm_ends_the_process_where_it_stands(start):
    run = start("torch")
    run.send(signal.SIGTERM)
    assert "A second SIGTERM ends the process at once" in run.answer()
    run.send(signal.SIGTERM)
    assert run.process.wait(timeout=120) == -signal.SIGTERM
    assert not run.checkpoints()


def test_a_handler_of_ones_own_is_left_alone(start):
    run = start("torch", "own handler")
    run.send(signal.SIGTERM)
    code, said = run.finish()
    assert code == 0
    assert said.startswith("mine")
    assert "after the fit" in said
    assert "Stopped by" not in said


def test_handlers_are_as_before_when_a_run_is_over():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    class Looking(pl.Callback):
        seen: Any = ()

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            self.seen = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    from tests.errors.torch_parts import fit

    look = Looking()
    fit(callbacks=[look], checkpoint_callback=False)
    assert all(during is not was for during, was in zip(look.seen, before, strict=True))
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
