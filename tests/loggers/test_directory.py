"""directory.py: how runs are numbered and where they are."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from functrain.loggers import CSVLogger, TensorBoardLogger
from functrain.trainer.hparams import load_hparams_yaml
from tests.errors.torch_parts import Validated, loader, trainer

KINDS = pytest.mark.parametrize("kind", [CSVLogger, TensorBoardLogger])


@KINDS
def test_versions_continue_after_the_highest(tmp_path, kind):
    root = tmp_path / "exp"
    for name in ("version_2", "version_10", "version_x", "version_30b", "my_version_40", "checkpoints"):
        (root / name).mkdir(parents=True)
    logger = kind(tmp_path, name="exp")
    assert logger.version == 11
    assert logger.log_dir == str(root / "version_11")
    (root / "version_50").mkdir()
    assert logger.version == 11, "settled when it was first asked for"


@KINDS
def test_every_run_gets_its_own(tmp_path, kind):
    for number in range(3):
        logger = kind(tmp_path)
        logger.log_metrics({"a": 1.0}, 0)
        logger.finalize("success")
        assert logger.version == number
    assert sorted(path.name for path in (tmp_path / "lightning_logs").iterdir()) == [
        "version_0",
        "version_1",
        "version_2",
    ]


@KINDS
def test_where_things_are(tmp_path, kind):
    logger = kind(str(tmp_path), name="exp", version=3)
    assert (logger.name, logger.version) == ("exp", 3)
    assert logger.save_dir == str(tmp_path)
    assert logger.root_dir == str(tmp_path / "exp")
    assert logger.log_dir == str(tmp_path / "exp" / "version_3")
    assert kind(tmp_path, version="best").log_dir == str(tmp_path / "lightning_logs" / "best")
    for nameless in ("", None):
        assert kind(tmp_path, name=nameless, version=0).log_dir == str(tmp_path / "version_0")
        assert kind(tmp_path, name=nameless).name == ""
    assert kind("~/logs").save_dir == str(Path.home() / "logs")
    assert kind("s3://bucket/logs", version=1).log_dir == "s3://bucket/logs/lightning_logs/version_1"


def test_a_sub_directory(tmp_path):
    logger = TensorBoardLogger(tmp_path, name="exp", version=0, sub_dir=Path("fold") / "1")
    assert logger.log_dir == str(tmp_path / "exp" / "version_0" / "fold" / "1")
    logger.log_hyperparams({"a": 1})
    logger.finalize("success")
    assert load_hparams_yaml(Path(logger.log_dir) / "hparams.yaml") == {"a": 1}


@KINDS
def test_hyperparameters_of_every_kind(tmp_path, kind):
    logger = kind(tmp_path)
    logger.log_hyperparams(argparse.Namespace(lr=0.1, path=Path("x")))
    logger.log_hyperparams({"lr": 0.2})
    logger.finalize("success")
    assert load_hparams_yaml(Path(logger.log_dir) / "hparams.yaml") == {"lr": 0.2, "path": "x"}
    with pytest.raises(TypeError, match="params of log_hyperparams is a list"):
        logger.log_hyperparams([1])


@KINDS
def test_a_directory_that_cannot_be_made_is_named(tmp_path, kind):
    (tmp_path / "logs").write_text("a file")
    logger = kind(tmp_path / "logs")
    with pytest.raises(OSError, match=r"logs/lightning_logs.*a file stands where a directory is needed"):
        logger.log_metrics({"a": 1.0}, 0)


def fit(logger, ckpt_path=None, epochs=1):
    run = trainer(logger=logger, max_epochs=epochs, num_sanity_val_steps=0)
    run.fit(Validated(), loader(), loader(), ckpt_path=ckpt_path)
    return run


@KINDS
def test_a_new_run_in_the_directory_of_an_old_one_says_so(tmp_path, kind):
    run = fit(kind(tmp_path, version="mine"))
    run.save_checkpoint(tmp_path / "a.ckpt")
    with pytest.warns(
        UserWarning, match=r"lightning_logs/mine holds what another run .* leave out version='mine'"
    ) as told:
        fit(kind(tmp_path, version="mine"))
    assert len(told) == 1
    fit(kind(tmp_path, version="mine"), tmp_path / "a.ckpt", epochs=2)  # the same run says nothing
    fit(kind(tmp_path, version="fresh"))


@KINDS
def test_a_run_that_continues_in_the_directory_of_another_says_so(tmp_path, kind):
    fit(kind(tmp_path, version="theirs"))
    fit(kind(tmp_path, version="mine")).save_checkpoint(tmp_path / "a.ckpt")
    with pytest.warns(UserWarning, match=r"lightning_logs/theirs holds what another run"):
        fit(kind(tmp_path, version="theirs"), tmp_path / "a.ckpt", epochs=2)
    fit(kind(tmp_path), tmp_path / "a.ckpt", epochs=3)


@KINDS
def test_one_logger_in_several_runs_says_nothing(tmp_path, kind):
    logger = kind(tmp_path, version="mine")
    for _ in range(2):
        fit(logger)
