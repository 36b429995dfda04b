"""What stands for a logger where nothing is written; loggers of one's own in the form of older generations."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from functrain.callbacks import ModelCheckpoint
from functrain.loggers import (
    CSVLogger,
    DummyExperiment,
    DummyLogger,
    Logger,
    LoggerCollection,
    WandbLogger,
    rank_zero_experiment,
)
from functrain.trainer import world
from functrain_torch.compat.loggers import LightningLoggerBase
from tests.loggers.runs import fitted


class Own(LightningLoggerBase):
    """As the documents of older generations write one."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[dict[str, float], int]] = []
        self.saved: list[Any] = []

    @property
    def name(self):
        return "Own"

    @property
    @rank_zero_experiment
    def experiment(self):
        return self.rows

    @property
    def version(self):
        return "0.1"

    def log_hyperparams(self, params):
        self.hparams = dict(params)

    def log_metrics(self, metrics, step):
        self.rows.append((dict(metrics), step))

    def after_save_checkpoint(self, checkpoint_callback):
        self.saved.append((checkpoint_callback, checkpoint_callback.best_model_path))


def test_one_of_ones_own(tmp_path):
    logger, saver = Own(), ModelCheckpoint(tmp_path, monitor="val", filename="{epoch}", mode="min")
    trainer, _ = fitted(logger, saver)
    assert [step for row, step in logger.rows if "loss" in row] == [2, 4, 6, 8]
    assert logger.hparams == {"width": 3}
    assert logger.saved == [(saver, str(tmp_path / f"epoch={epoch}.ckpt")) for epoch in (0, 1)]
    trainer.save_checkpoint(tmp_path / "by hand.ckpt")
    assert len(logger.saved) == 2


def test_the_saver_of_several_is_told(tmp_path):
    logger = Own()
    savers = [
        ModelCheckpoint(tmp_path / name, monitor="val", mode=mode, filename="{epoch}")
        for name, mode in (("least", "min"), ("most", "max"))
    ]
    fitted(logger, *savers)
    assert [savers.index(saver) for saver, _ in logger.saved] == [0, 1, 0]


def test_one_in_a_collection_is_told_too(tmp_path):
    own, files = Own(), CSVLogger(tmp_path / "logs")
    fitted(LoggerCollection([own, files]), ModelCheckpoint(tmp_path / "kept", monitor="val", mode="min"))
    assert len(own.saved) == 2
    assert [step for row, step in own.rows if "loss" in row] == [2, 4, 6, 8]


def test_a_dummy_takes_everything(tmp_path):
    logger = DummyLogger()
    fitted(logger, ModelCheckpoint(tmp_path))
    assert logger.experiment.add_image("a", None).whatever(3)["x"].nop() is None
    logger.experiment["place"] = 3
    assert (logger.name, logger.version, logger[3]) == ("", "", logger)
    assert list(logger) == [logger]


@pytest.mark.parametrize("through", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_dummies_are_copied(through):
    assert isinstance(through(DummyLogger()).experiment, DummyExperiment)


class Second:
    """A world in which this is the second process; its values are the first one's."""

    rank, size = 1, 2

    def __init__(self, first: Any = None) -> None:
        self.first = first

    def broadcast(self, value: Any) -> Any:
        return self.first


def test_in_other_processes_an_experiment_does_nothing(monkeypatch):
    logger = Own()
    assert logger.experiment is logger.rows
    monkeypatch.setattr(world, "_makers", [lambda ranks: Second()])
    assert isinstance(logger.experiment, DummyExperiment)


def test_the_first_process_connects_and_the_others_know_its_run(tmp_path):
    logger = WandbLogger(save_dir=tmp_path, offline=True)
    logger.share(Second(("first-id", None)))  # type: ignore[arg-type]
    assert isinstance(logger.experiment, DummyExperiment)
    logger.log_metrics({"a": 1}, 0)
    logger.log_hyperparams({"a": 1})
    logger.log_text("a", ["a"], [["b"]])
    assert list(tmp_path.iterdir()) == []


def test_the_base_class_goes_by_both_names():
    assert LightningLoggerBase is Logger
    assert Logger.group_separator == "/"
