"""What a Trainer has without being asked, and what the flags change about it."""

from __future__ import annotations

import pytest

import functrain_torch as pl
from functrain import assembly
from functrain.trainer.errors import ConfigurationError, OlderNameWarning
from functrain_torch.callbacks import (
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    ModelSummary,
    RichProgressBar,
    TQDMProgressBar,
)
from functrain_torch.loggers import CSVLogger, LoggerCollection, TensorBoardLogger
from tests.callbacks.helpers import Scripted, by_epoch, fit


def kinds(trainer: pl.Trainer) -> list[str]:
    return [type(callback).__name__ for callback in trainer.callbacks]


def test_without_flags(tmp_path):
    trainer = pl.Trainer(default_root_dir=str(tmp_path))
    assert kinds(trainer) == ["TQDMProgressBar", "ModelSummary", "ModelCheckpoint"]
    (logger,) = trainer.loggers
    assert isinstance(logger, TensorBoardLogger)
    assert logger.log_dir == str(tmp_path / "lightning_logs" / "version_0")
    assert not any(tmp_path.iterdir()), "nothing is written before a run"


@pytest.mark.parametrize(
    ("flags", "missing"),
    [
        ({"checkpoint_callback": False}, "ModelCheckpoint"),
        ({"enable_checkpointing": False}, "ModelCheckpoint"),
        ({"progress_bar_refresh_rate": 0}, "TQDMProgressBar"),
        ({"enable_progress_bar": False}, "TQDMProgressBar"),
        ({"weights_summary": None}, "ModelSummary"),
        ({"enable_model_summary": False}, "ModelSummary"),
    ],
)
def test_each_can_be_left_out(flags, missing):
    everything = ["TQDMProgressBar", "ModelSummary", "ModelCheckpoint"]
    assert kinds(pl.Trainer(logger=False, **flags)) == [kind for kind in everything if kind != missing]


def test_what_the_user_gives_stands_in_for_it():
    given = [ModelCheckpoint("here"), TQDMProgressBar(5), ModelSummary(2)]
    trainer = pl.Trainer(logger=False, callbacks=given)
    assert set(trainer.callbacks) == set(given)
    trainer = pl.Trainer(logger=False, callbacks=RichProgressBar(), progress_bar_refresh_rate=0)
    assert kinds(trainer) == ["RichProgressBar", "ModelSummary", "ModelCheckpoint"]


def test_flags_of_the_bar():
    trainer = pl.Trainer(logger=False, progress_bar_refresh_rate=20, process_position=3)
    bar = trainer.progress_bar_callback
    assert (bar.refresh_rate, bar.process_position) == (20, 3)


def test_a_checkpoint_callback_as_the_flag():
    callback = ModelCheckpoint(monitor="val_loss")
    with pytest.warns(OlderNameWarning, match="callbacks="):
        trainer = pl.Trainer(logger=False, checkpoint_callback=callback)
    assert trainer.checkpoint_callbacks == [callback]
    other = ModelCheckpoint()
    with pytest.warns(OlderNameWarning, match="callbacks="):
        trainer = pl.Trainer(logger=False, checkpoint_callback=callback, callbacks=[callback, other])
    assert trainer.checkpoint_callbacks == [callback, other]


def test_checkpoint_flags_that_contradict():
    with pytest.raises(ConfigurationError, match=r"checkpoint_callback=False, callbacks=\[ModelCheckpoint"):
        pl.Trainer(checkpoint_callback=False, callbacks=[ModelCheckpoint()])
    with pytest.raises(ConfigurationError, match="checkpoint_callback='here'"):
        pl.Trainer(checkpoint_callback="here")


@pytest.mark.parametrize(("given", "named"), [(EarlyStopping, "EarlyStopping"), ("early", "'early'"), (3, "3")])
def test_callbacks_that_are_none(given, named):
    with pytest.raises(ConfigurationError, match=rf"callbacks=\[{named}\].*an instance"):
        pl.Trainer(logger=False, callbacks=[given])


def test_early_stop_callback(make):
    with pytest.warns(OlderNameWarning, match="callbacks"):
        trainer = pl.Trainer(logger=False, early_stop_callback=True)
    callback = trainer.early_stopping_callback
    assert (callback.monitor, callback.patience, callback.mode) == ("val_loss", 3, "min")
    with pytest.warns(OlderNameWarning, match="callbacks"):
        trainer = make(early_stop_callback=True, max_epochs=9)
    assert fit(trainer, Scripted(by_epoch(*[1.0] * 9))).current_epoch == 4
    own = EarlyStopping("val_acc", mode="max")
    with pytest.warns(OlderNameWarning, match="callbacks"):
        assert pl.Trainer(logger=False, early_stop_callback=own).early_stopping_callback is own
    with pytest.warns(OlderNameWarning, match="callbacks"):
        assert pl.Trainer(logger=False, early_stop_callback=None).early_stopping_callback is None


def test_a_dev_run_saves_stops_and_logs_nothing(tmp_path):
    given = [ModelCheckpoint(), EarlyStopping("nothing"), LearningRateMonitor(), pl.Callback()]
    trainer = pl.Trainer(
        fast_dev_run=2, callbacks=given, default_root_dir=str(tmp_path), logger=CSVLogger(str(tmp_path))
    )
    assert kinds(trainer) == ["Callback", "TQDMProgressBar", "ModelSummary"]
    assert trainer.loggers == []
    fit(trainer, Scripted(by_epoch(1)))
    assert not any(tmp_path.iterdir())


def test_loggers(tmp_path):
    one, two = CSVLogger(str(tmp_path), "a"), CSVLogger(str(tmp_path), "b")
    for given, expected in (
        (one, [one]),
        ([one, two], [one, two]),
        ((one,), [one]),
        (iter([one]), [one]),
        (False, []),
        (None, []),
        ([], []),
    ):
        assert pl.Trainer(logger=given).loggers == expected
    (both,) = pl.Trainer(logger=LoggerCollection([one, two])).loggers
    assert list(both) == [one, two]
    for wrong in (3, "csv", [one, "csv"]):
        with pytest.raises(ConfigurationError, match="is no logger"):
            pl.Trainer(logger=wrong)


def test_without_tensorboardx_metrics_go_to_csv(tmp_path, monkeypatch):
    monkeypatch.setattr(assembly, "find_spec", lambda name: None)
    with pytest.warns(UserWarning, match="tensorboardX is not installed"):
        trainer = pl.Trainer(default_root_dir=str(tmp_path))
    assert isinstance(trainer.logger, CSVLogger)
    assert trainer.logger.log_dir == str(tmp_path / "lightning_logs" / "version_0")
