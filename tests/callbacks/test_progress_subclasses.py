"""Progress bars as scripts subclass them: bars of their own making, what they may ask, columns and themes."""

from __future__ import annotations

import math
import sys
from typing import Any

import pytest
from tqdm import tqdm

from functrain.callbacks.progress import convert_inf, get_standard_metrics
from functrain_torch.callbacks import (
    Callback,
    ProgressBarBase,
    RichProgressBar,
    RichProgressBarTheme,
    TQDMProgressBar,
)
from functrain_torch.loggers import CSVLogger
from tests.callbacks.helpers import Scripted, batches, by_epoch, fit
from tests.callbacks.test_progress import EveryStage, Slow, Terminal, plain


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


class Percent(ProgressBarBase):
    """Draws by itself, in a hook of its own."""

    def __init__(self):
        super().__init__()
        self.enable = True

    def disable(self):
        self.enable = False

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        sys.stdout.write(f"{self.train_batch_idx / self.total_train_batches * 100:.01f} percent complete\n")


@pytest.mark.parametrize("live", [False, True])
def test_a_bar_that_draws_in_hooks_of_its_own(make, capsys, terminal, live):
    trainer = make(Percent(), max_epochs=1)
    assert trainer.progress_bar_callback is trainer.callbacks[0]
    if live:
        with terminal:
            fit(trainer, Scripted(by_epoch(1)))
    else:
        fit(trainer, Scripted(by_epoch(1)))
    out, err = capsys.readouterr()
    assert out.splitlines() == [f"{percent} percent complete" for percent in ("25.0", "50.0", "75.0", "100.0")]
    assert err + terminal.getvalue() == "", "nobody else draws"


class Renamed(TQDMProgressBar):
    def init_validation_tqdm(self):
        bar = super().init_validation_tqdm()
        bar.set_description("running validation...")
        return bar

    def init_train_tqdm(self):
        return tqdm(
            desc="mine", total=self.total_train_batches, leave=True, dynamic_ncols=True, unit=" it",
            position=2 * self.process_position, disable=self.is_disabled, file=sys.stderr, smoothing=0,
        )  # fmt: skip

    def init_sanity_tqdm(self):
        bar = super().init_sanity_tqdm()
        bar.set_description("trying")
        return bar

    @property
    def test_description(self):
        return "on trial"

    def get_metrics(self, trainer, pl_module):
        items = super().get_metrics(trainer, pl_module)
        items.pop("v_num", None)
        return items

    def on_train_epoch_start(self, trainer, *args):
        super().on_train_epoch_start(trainer, *args)
        self.main_progress_bar.set_description(f"round {trainer.current_epoch}")
        self.made = self.main_progress_bar


def test_bars_of_ones_own_making_are_moved(make, terminal, tmp_path):
    bar = Renamed()
    trainer = make(bar, max_epochs=2, num_sanity_val_steps=1, log_every_n_steps=1, logger=CSVLogger(str(tmp_path)))
    with terminal:
        fit(trainer, All(lambda step: 0.5), n=6)
        trainer.test(dataloaders=batches())
    shown = plain(terminal.getvalue())
    for text in ("trying", "mine", "running validation...", "round 0", "round 1", "on trial", "6/6", " it/s"):
        assert text in shown
    assert "v_num" not in shown
    assert type(bar.made) is tqdm
    assert bar.made.disable, "it is closed"


class All(Slow):
    test_step = EveryStage.test_step


def test_the_same_without_a_terminal(make, capsys):
    trainer = fit(make(Renamed(), max_epochs=1), Scripted(by_epoch(1)))
    assert capsys.readouterr().err.startswith("Epoch 0: 4 batches")
    assert trainer.progress_bar_callback.main_progress_bar.disable


class MakesItself(TQDMProgressBar):
    def on_train_start(self, trainer, pl_module):
        self.main_progress_bar = tqdm(desc="by hand", total=4, file=sys.stderr)

    def on_train_epoch_start(self, trainer, pl_module):
        pass


def test_a_bar_that_is_set_is_moved_and_closed(make, terminal):
    bar = MakesItself()
    with terminal:
        fit(make(bar, max_epochs=1), Slow(by_epoch(1)))
    assert "by hand: 100%" in plain(terminal.getvalue())
    assert not bar._bars


class Asks(TQDMProgressBar):
    def __init__(self):
        super().__init__()
        self.told: list[Any] = []

    def on_train_epoch_start(self, trainer, pl_module):
        super().on_train_epoch_start(trainer, pl_module)
        self.told.append((trainer.current_epoch, self.total_train_batches, self.total_val_batches))

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx):
        self.told.append(
            (
                dataloader_idx, self.has_dataloader_changed(dataloader_idx), self.val_batch_idx,
                self.total_val_batches_current_dataloader,
            )
        )  # fmt: skip

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.told.append((self.test_batch_idx, self.total_test_batches_current_dataloader))

    def on_predict_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.told.append((self.predict_batch_idx, self.total_predict_batches_current_dataloader))


class Several(EveryStage):
    def validation_step(self, batch, batch_idx, dataloader_idx):
        pass


class Stream:
    def __iter__(self):
        return iter(batches(2))


def test_what_a_bar_may_ask(make):
    bar = Asks()
    with pytest.raises(TypeError, match=r"Asks\.trainer: it is known from the start of a run on"):
        bar.trainer  # noqa: B018
    trainer = make(bar, max_epochs=2, check_val_every_n_epoch=2)
    trainer.fit(Several(), batches(3), [batches(1), batches(2)])
    assert bar.told == [(0, 3, 0), (1, 3, 3), (0, True, 1, 1), (1, True, 1, 2), (1, False, 2, 2)]
    assert bar.trainer is trainer
    bar.told.clear()
    trainer.test(Several(), Stream(), verbose=False)
    trainer.predict(Several(), batches(2))
    assert bar.told == [(1, math.inf), (2, math.inf), (1, 2), (2, 2)]


def test_whether_there_is_a_bar():
    bar = TQDMProgressBar()
    assert bar.is_enabled
    bar.disable()
    assert bar.is_disabled
    bar.enable()
    assert bar.is_enabled
    assert TQDMProgressBar(refresh_rate=0).is_disabled


def test_a_bar_of_every_epoch_may_be_left(make, terminal):
    with terminal:
        fit(make(TQDMProgressBar(leave=True), max_epochs=3), Scripted(by_epoch(1, 1, 1)))
    finished = [line for line in terminal.getvalue().split("\n") if "100%" in line]
    assert len(finished) >= 3


def test_tools(make, tmp_path):
    assert [convert_inf(x) for x in (3, math.inf, None, float("nan"), 4.0)] == [3, None, None, None, 4]
    assert get_standard_metrics(make(logger=CSVLogger(str(tmp_path), version=7)), None) == {"v_num": 7}
    assert get_standard_metrics(make(), None) == {}


# ---- rich


class Columns(RichProgressBar):
    def configure_columns(self, trainer):
        self.asked = trainer
        return ["[bold]{task.description}", *super().configure_columns(trainer)[2:]]

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.task = self.main_progress_bar
        self.others = self.val_progress_bar, self.test_progress_bar, self.val_sanity_check_bar
        self.refresh()


def test_columns_and_tasks(make, terminal):
    bar = Columns()
    trainer = make(bar, max_epochs=1)
    with terminal:
        fit(trainer, Slow(by_epoch(1)))
    shown = plain(terminal.getvalue())
    assert "Epoch 0 " in shown
    assert "it/s" in shown
    assert "━" not in shown, "its own columns have no bar"
    assert bar.asked is trainer
    assert bar.task.description == "Epoch 0"
    assert bar.others == (None, None, None)
    assert bar.main_progress_bar is None


def test_a_theme_and_a_console(make, terminal):
    theme = RichProgressBarTheme(
        description="green_yellow", progress_bar="green1", progress_bar_finished="green1", progress_bar_pulse="#6206E0",
        batch_progress="bold red", time="grey82", processing_speed="grey82", metrics="red", metrics_format=".1f",
        metrics_text_delimiter="; ",
    )  # fmt: skip
    bar = RichProgressBar(theme=theme, console_kwargs={"force_terminal": True, "color_system": "truecolor"})
    with terminal:
        fit(make(bar, max_epochs=1), TwoMetrics(by_epoch(0.25)))
    shown = terminal.getvalue()
    assert "\x1b[1;31m4/4" in shown, "bold red"
    assert "\x1b[31m" in shown
    assert "val_loss=0.2; other=3" in plain(shown)


class TwoMetrics(Scripted):
    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        self.log("other", 3.0, prog_bar=True)


def test_what_is_shown_beside_a_bar_costs_nothing_where_nobody_looks(make):
    asked = []

    class Mine(TQDMProgressBar):
        def get_metrics(self, trainer, pl_module):
            asked.append(trainer.current_epoch)
            return {}

    fit(make(Mine(), Callback(), max_epochs=2), Scripted(by_epoch(1, 1)))
    assert asked == [0, 1], "once an epoch, for its line"
