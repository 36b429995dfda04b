"""Progress bars: what stands on the screen, that nothing else does, and that the run is not slowed for it."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import textwrap
import time
from contextlib import redirect_stderr
from pathlib import Path

import pytest

import functrain_torch as pl
from functrain.trainer.errors import ConfigurationError
from functrain_torch.callbacks import RichProgressBar, TQDMProgressBar
from functrain_torch.loggers import CSVLogger
from tests import inside
from tests.callbacks.helpers import Scripted, batches, by_epoch, fit

ROOT = Path(__file__).resolve().parents[2]
BARS = [TQDMProgressBar, RichProgressBar]


class Terminal(io.StringIO):
    """A stream that can redraw lines. It stands for stderr while it is entered."""

    def isatty(self):
        return True

    def __enter__(self):
        self.standing = redirect_stderr(self)
        self.standing.__enter__()

    def __exit__(self, *error):
        self.standing.__exit__(*error)


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


class Slow(Scripted):
    """Takes its time, so that the bar is redrawn within an epoch."""

    def training_step(self, batch, batch_idx):
        time.sleep(0.06)
        loss = super().training_step(batch, batch_idx)
        self.log("fast", float(batch_idx), prog_bar=True)
        return loss


def plain(text: str) -> str:
    """Without the terminal's control sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


@pytest.mark.parametrize("kind", BARS)
def test_the_bar_moves(make, terminal, kind):
    with terminal:
        fit(make(kind(), max_epochs=2), Slow(lambda step: 0.5 if step < 12 else 0.25), n=6)
    shown = plain(terminal.getvalue())
    assert "Epoch 0" in shown
    assert "Epoch 1" in shown
    assert re.search(r"\b[2345]/6\b", shown), shown
    assert "6/6" in shown
    assert re.search(r"fast=[1-5]", shown)
    assert "val_loss=0.25" in shown


@pytest.mark.parametrize("kind", BARS)
def test_every_stage_has_one(make, terminal, kind):
    trainer = make(kind(), max_epochs=1, num_sanity_val_steps=1)
    with terminal:
        fit(trainer, EveryStage(by_epoch(1)))
    with terminal:
        trainer.test(dataloaders=batches())
    with terminal:
        trainer.predict(dataloaders=batches())
    shown = plain(terminal.getvalue())
    for text in ("Sanity check", "Epoch 0", "Validation", "Test", "Predict"):
        assert text in shown
    bar = trainer.progress_bar_callback
    assert not bar._tracks


class EveryStage(Scripted):
    def test_step(self, batch, batch_idx):
        self.log("test_loss", 1.0)

    def predict_step(self, batch, batch_idx):
        return batch


@pytest.mark.parametrize("kind", BARS)
def test_a_loader_without_a_length(make, terminal, kind):
    class Stream:
        def __iter__(self):
            return iter(batches(7))

    trainer = make(kind(), max_epochs=1)
    with terminal:
        trainer.fit(Scripted(by_epoch(1, 1)), Stream())
    assert "7" in plain(terminal.getvalue())


@pytest.mark.parametrize("kind", BARS)
def test_prints_go_above_the_bar(make, terminal, capsys, kind):
    class Talks(Scripted):
        def on_train_epoch_end(self):
            self.trainer.print("one", 2, sep="-")

    trainer = make(kind(), max_epochs=1)
    with terminal:
        fit(trainer, Talks(by_epoch(1)))
    trainer.print("after")
    assert capsys.readouterr().out == "one-2\nafter\n"
    assert "one-2" not in terminal.getvalue(), "what goes into a file is not on the screen"


@pytest.mark.parametrize("kind", BARS)
def test_an_error_leaves_no_bar_behind(make, terminal, kind):
    class Fails(Scripted):
        def training_step(self, batch, batch_idx):
            raise RuntimeError("no")

    trainer = make(kind(), max_epochs=1)
    with terminal, pytest.raises(RuntimeError, match="no"):
        fit(trainer, Fails(by_epoch(1)))
    assert not trainer.progress_bar_callback._tracks


@pytest.mark.parametrize("kind", BARS)
def test_without_a_terminal_a_line_an_epoch(make, capsys, tmp_path, kind):
    trainer = make(kind(), max_epochs=3, max_steps=10, logger=CSVLogger(str(tmp_path)))
    fit(trainer, Scripted(by_epoch(0.5, 0.25, 1)))
    lines = capsys.readouterr().err.splitlines()
    assert [re.sub(r"[0-9.]+ s", "T s", line) for line in lines] == [
        "Epoch 0: 4 batches, T s, v_num 0, val_loss 0.5",
        "Epoch 1: 4 batches, T s, v_num 0, val_loss 0.25",
        "Epoch 2 (cut short): 2 batches, T s, v_num 0, val_loss 0.25",
    ]
    assert inside.tick_seconds(trainer) is None, "nobody looks, so nobody asks"


def test_it_never_asks_for_the_host_at_every_batch(make, terminal):
    with terminal:
        trainer = fit(make(TQDMProgressBar(), max_epochs=1), Scripted(by_epoch(1)))
    assert not inside.per_batch(trainer)
    assert inside.tick_seconds(trainer) == pytest.approx(0.1)


def test_disabled(make, terminal):
    bar = TQDMProgressBar()
    bar.disable()
    with terminal:
        fit(make(bar, max_epochs=1), Scripted(by_epoch(1)))
    assert terminal.getvalue() == ""
    bar.enable()
    with terminal:
        fit(make(bar, max_epochs=1), Scripted(by_epoch(1)))
    assert "Epoch 0" in terminal.getvalue()


def test_what_is_shown_may_be_changed(make, terminal):
    class Mine(TQDMProgressBar):
        def get_metrics(self, trainer, pl_module):
            return {"mine": "here"}

    with terminal:
        fit(make(Mine(), max_epochs=1), Scripted(by_epoch(1)))
    assert "mine=here" in terminal.getvalue()


def test_a_continued_run_starts_where_it_was(make, terminal, tmp_path):
    save = pl.callbacks.ModelCheckpoint(tmp_path, every_n_train_steps=5, filename="{step}")
    with terminal:
        fit(make(save, TQDMProgressBar(), max_steps=5, max_epochs=-1), Scripted(by_epoch(1, 1)))
    terminal.truncate(0)
    with terminal:
        fit(make(save, TQDMProgressBar(), max_epochs=2), Slow(by_epoch(1, 1)), ckpt_path=str(tmp_path / "step=5.ckpt"))
    assert re.search(r"Epoch 1: .*1/4", terminal.getvalue())


def test_bars_side_by_side_take_lines_of_their_own(make, terminal):
    with terminal:
        fit(make(TQDMProgressBar(process_position=2), max_epochs=1), Scripted(by_epoch(1)))
    assert "\n\n\n\n\r" in terminal.getvalue().replace("\x1b[A", "")


def test_wrong_arguments():
    for arguments in ({"refresh_rate": -1}, {"refresh_rate": 0.5}, {"process_position": -1}):
        with pytest.raises(ConfigurationError, match=next(iter(arguments))):
            TQDMProgressBar(**arguments)


@pytest.mark.parametrize("size", [(24, 100), (24, 0), (0, 0)])
def test_on_a_real_terminal(size):
    """The whole run in a pseudo-terminal: one finished line for the bar, and the printed line above it."""
    code = f"""
        import sys
        sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "adapters")!r}]
        import functrain_torch as pl
        from tests.callbacks.helpers import Scripted, batches
        class Talks(Scripted):
            def on_train_epoch_end(self):
                self.trainer.print("spoken")
        trainer = pl.Trainer(max_epochs=2, logger=False, checkpoint_callback=False, weights_summary=None)
        trainer.fit(Talks(lambda step: 0.5), batches(), batches(1))
    """
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=follower, stderr=follower, stdin=follower
    )
    os.close(follower)
    received = b""
    while True:
        try:
            chunk = os.read(leader, 65536)
        except OSError:
            break
        if not chunk:
            break
        received += chunk
    os.close(leader)
    assert process.wait(60) == 0, received.decode()
    lines = screen(received.decode())
    assert lines[:2] == ["spoken", "spoken"]
    assert len(lines) == 3
    assert lines[2].startswith("Epoch 1: 100%|")
    assert "4/4" in lines[2]
    assert "val_loss=0.5" in lines[2]


def screen(text: str) -> list[str]:
    """What a terminal shows in the end: carriage returns, line feeds, cursor up, erase line."""
    lines, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[[0-9;?]*[a-zA-Z]|\r|\n|[^\x1b\r\n]+", text):
        if token == "\r":
            column = 0
        elif token == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif token.endswith("A") and token.startswith("\x1b"):
            row = max(0, row - int(token[2:-1] or 1))
        elif token == "\x1b[K":
            lines[row] = lines[row][:column]
        elif not token.startswith("\x1b"):
            line = lines[row].ljust(column)
            lines[row], column = line[:column] + token + line[column + len(token) :], column + len(token)
    return [line.rstrip() for line in lines if line.strip()]
