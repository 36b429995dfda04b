"""Timer: what it measures, and when it ends a fit, in both worlds."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
import torch

from functrain import Callback
from functrain.callbacks import ModelCheckpoint, Timer
from functrain.callbacks.timer import Interval
from functrain.trainer.errors import ConfigurationError
from tests.callbacks import test_jax as jax_parts
from tests.callbacks.helpers import Scripted, batches, by_epoch, fit

QUIET: dict[str, Any] = {"weights_summary": None, "progress_bar_refresh_rate": 0}


@pytest.fixture(params=["torch", "jax"])
def run(request, make, tmp_path):
    """Runs at most so many epochs with these callbacks; returns the Trainer."""

    def run(epochs: int, *callbacks: Callback, **more: Any) -> Any:
        if request.param == "jax":
            return jax_parts.run(tmp_path, epochs, *callbacks, **{**QUIET, **more})[0]
        ckpt_path = more.pop("ckpt_path", None)
        module = Scripted(by_epoch(*[0.5] * epochs))
        return fit(make(*callbacks, max_epochs=epochs, **more), module, ckpt_path=ckpt_path)

    return run


class Sleeps(Callback):
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_train_epoch_start(self) -> None:
        time.sleep(self.seconds)


@pytest.mark.parametrize("interval", [Interval.step, "epoch"])
def test_it_ends_a_fit_after_its_time(run, interval):
    timer = Timer({"seconds": 0.2}, interval)
    trainer = run(100, timer, Sleeps(0.06))
    assert trainer.current_epoch <= 5
    assert timer.time_elapsed() >= 0.2
    assert timer.time_remaining() <= 0
    assert timer.end_time() - timer.start_time() == timer.time_elapsed("train")


def test_a_step_interval_leaves_an_epoch_where_it_is_and_an_epoch_interval_ends_it(make):
    class Slow(Scripted):
        def training_step(self, batch, batch_idx):
            time.sleep(0.02)
            return super().training_step(batch, batch_idx)

    for interval, whole in (("step", False), ("epoch", True)):
        trainer = make(Timer(timedelta(seconds=0.3), interval), max_epochs=3, limit_val_batches=0)
        trainer.fit(Slow(), batches(40))
        assert (trainer.current_epoch, trainer.global_step == 40) == (int(whole), whole)


def test_an_epoch_interval_waits_for_the_minima_and_a_step_interval_is_a_limit(run):
    assert run(9, Timer("00:00:00:00", "epoch"), min_epochs=3).current_epoch == 3
    assert run(9, Timer("00:00:00:00", "step"), min_epochs=3).current_epoch == 0


def test_without_a_duration_it_measures_only(run):
    timer = Timer()
    trainer = run(2, timer)
    assert trainer.current_epoch == 2
    assert timer.time_remaining() is None
    assert timer.tick_seconds is None, "nobody need look up for it"
    assert 0 < timer.time_elapsed("validate") < timer.time_elapsed("fit")


def test_each_stage_is_measured(make):
    timer = Timer()
    trainer = make(timer, max_epochs=1)
    assert timer.start_time() is None
    assert timer.time_elapsed() == 0.0
    fit(trainer, Scripted(by_epoch(1)))

    class All(Scripted):
        def test_step(self, batch, batch_idx):
            assert timer.end_time("test") is None

        def predict_step(self, batch, batch_idx):
            return batch

    trainer.test(All(), batches(2), verbose=False)
    trainer.predict(All(), batches(2))
    for stage in ("train", "validate", "test", "predict"):
        assert timer.end_time(stage) - timer.start_time(stage) == timer.time_elapsed(stage) > 0


def test_a_run_that_continues_counts_on(run, tmp_path):
    save = ModelCheckpoint(tmp_path / "at", save_last=True)
    first = Timer("00:00:00:30")
    run(1, first, save, Sleeps(0.1))
    again = Timer("00:00:00:30")
    run(2, again, ModelCheckpoint(tmp_path / "at"), Sleeps(0.1), ckpt_path=save.last_model_path)
    assert again.time_elapsed() >= 0.2
    assert again.time_elapsed() > again.end_time() - again.start_time()


def test_where_no_time_is_left_nothing_more_is_trained(run, tmp_path, capsys):
    for interval in ("step", "epoch"):
        save = ModelCheckpoint(tmp_path / interval, save_last=True)
        run(1, Timer("00:00:01:00", interval), save, Sleeps(0.05))
        timer = Timer({"milliseconds": 50}, interval)
        trainer = run(9, timer, ModelCheckpoint(tmp_path / interval), ckpt_path=save.last_model_path)
        assert trainer.current_epoch == 1
        assert "Timer: training took 0:00:00; its limit of 0:00:00.050000 is reached." in capsys.readouterr().out


def test_with_more_time_a_run_goes_on_from_where_it_was_over(run, tmp_path):
    for interval in ("step", "epoch"):
        save = ModelCheckpoint(tmp_path / interval, save_last=True)
        first = run(9, Timer({"seconds": 0.1}, interval), save, Sleeps(0.06))
        assert first.current_epoch < 9
        more = Timer("00:01:00:00", interval)
        assert run(9, more, ModelCheckpoint(tmp_path / interval), ckpt_path=save.last_model_path).current_epoch == 9


def test_each_fit_is_measured_anew(make):
    timer = Timer("00:00:00:10", verbose=False)
    for _ in range(2):
        fit(make(timer, Sleeps(0.05), max_epochs=1), Scripted(by_epoch(1)))
        assert 0.05 <= timer.time_elapsed() == timer.end_time() - timer.start_time()


def test_the_shorter_of_it_and_of_the_flag_holds(make):
    for mine, flag in (("00:00:00:00", {"hours": 1}), ({"hours": 1}, "00:00:00:00")):
        assert fit(make(Timer(mine), max_time=flag), Scripted(by_epoch(1))).global_step == 0


@pytest.mark.parametrize("duration", ["1:2", 5, {"weeks": "x"}, {"seconds": -1}])
def test_another_duration_is_an_error_that_names_it(duration):
    with pytest.raises(ConfigurationError, match=r"Timer\(duration="):
        Timer(duration)


def test_another_interval_or_stage_is_an_error():
    with pytest.raises(ConfigurationError, match=r"Timer\(interval='batch'\): must be 'step' or 'epoch'"):
        Timer(interval="batch")
    with pytest.raises(ConfigurationError, match="'training' is no stage"):
        Timer().time_elapsed("training")


def test_a_state_that_was_changed_is_an_error_that_names_the_timer(make, tmp_path):
    save = ModelCheckpoint(tmp_path / "at", save_last=True)
    fit(make(Timer(), save, max_epochs=1), Scripted(by_epoch(1)))
    saved = torch.load(save.last_model_path, weights_only=False)
    saved["callbacks"]["Timer"] = {"time_elapsed": 3}
    torch.save(saved, tmp_path / "changed.ckpt")
    with pytest.raises(Exception, match="the state of Timer does not fit it"):
        fit(make(Timer(), max_epochs=2), Scripted(by_epoch(1, 1)), ckpt_path=str(tmp_path / "changed.ckpt"))
