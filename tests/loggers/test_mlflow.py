"""MLFlowLogger against the real client: what it wrote is read back from the store of files."""

from __future__ import annotations

import copy
import math
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

import functrain_torch as pl
from functrain.callbacks import ModelCheckpoint
from functrain.loggers import MLFlowLogger
from tests.loggers.runs import Net, batches, fitted


@pytest.fixture(autouse=True)
def no_other_place(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def client(logger: MLFlowLogger) -> MlflowClient:
    return logger.experiment


def history(logger: MLFlowLogger, name: str) -> list[tuple[int, float]]:
    """The values of a metric: step, value."""
    found = client(logger).get_metric_history(logger.run_id, name)
    return sorted((each.step, each.value) for each in found)


def test_numbers_of_steps(tmp_path):
    logger = MLFlowLogger("mine", save_dir=tmp_path / "runs", run_name="shown", tags={"kind": "test"})
    logger.log_metrics({"loss": 0.5, "inner": {"a": 1}}, step=3)
    logger.log_metrics({"loss": math.inf}, step=7)
    assert history(logger, "loss") == [(3, 0.5), (7, math.inf)]
    assert history(logger, "inner/a") == [(3, 1.0)]
    run = client(logger).get_run(logger.run_id)
    assert run.data.tags.items() >= {"kind": "test", "mlflow.runName": "shown"}.items()
    assert run.info.status == "RUNNING"
    assert client(logger).get_experiment(logger.experiment_id).name == "mine"
    assert Path(logger.log_dir, "meta.yaml").exists()
    assert (logger.name, logger.version) == (logger.experiment_id, logger.run_id)
    assert logger.save_dir == str(tmp_path / "runs")


def test_the_place_of_the_documents(tmp_path):
    MLFlowLogger().log_metrics({"a": 1}, 0)
    assert (tmp_path / "mlruns").is_dir()


def test_the_variable_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'there'}")
    logger = MLFlowLogger()
    logger.log_metrics({"a": 1}, 0)
    assert (tmp_path / "there").is_dir()
    assert logger.save_dir == str(tmp_path / "there")
    assert MLFlowLogger(tracking_uri="http://localhost:1").save_dir is None


def test_a_prefix_and_letters_that_mlflow_does_not_take(tmp_path):
    logger = MLFlowLogger(save_dir=tmp_path, prefix="run")
    with pytest.warns(UserWarning, match=r"'run-loss\(a\)' is written as 'run-loss_a_'"):
        logger.log_metrics({"loss(a)": 0.5}, 1)
    logger.log_metrics({"loss(a)": 0.25}, 2)
    assert history(logger, "run-loss_a_") == [(1, 0.5), (2, 0.25)]


def test_hyperparameters(tmp_path):
    logger = MLFlowLogger(save_dir=tmp_path)
    many = {f"p{number}": number for number in range(150)}
    logger.log_hyperparams({"lr": 0.1, "net": {"act": "relu"}, "loss": len, "layers": [1, 2], **many}, {"acc": 0.5})
    told = client(logger).get_run(logger.run_id).data.params
    assert told.items() >= {"lr": "0.1", "net/act": "relu", "layers": "[1, 2]", "p149": "149"}.items()
    assert told["loss"] == str(len)
    assert history(logger, "acc") == [(0, 0.5)]


def test_hyperparameters_that_are_others_now(tmp_path):
    logger = MLFlowLogger(save_dir=tmp_path)
    logger.log_hyperparams({"lr": 0.1, "n": 1})
    logger.log_hyperparams({"lr": 0.1, "n": 1})
    with pytest.warns(UserWarning, match="keeps the first value of a parameter, so in this run n stay"):
        logger.log_hyperparams({"lr": 0.1, "n": 2, "new": 3})
    assert client(logger).get_run(logger.run_id).data.params == {"lr": "0.1", "n": "1", "new": "3"}


def test_a_fit_and_a_test_are_one_run(tmp_path):
    logger = MLFlowLogger(save_dir=tmp_path)
    trainer, net = fitted(logger)
    assert client(logger).get_run(logger.run_id).info.status == "FINISHED"
    trainer.test(net, batches(2), verbose=False)
    losses = history(logger, "loss")
    assert [step for step, _ in losses] == [2, 4, 6, 8]
    assert losses[-1][1] == pytest.approx(float(trainer.callback_metrics["loss"]))
    assert [step for step, _ in history(logger, "val")] == [4, 8]
    assert [step for step, _ in history(logger, "test")] == [8]
    assert client(logger).get_run(logger.run_id).data.params == {"width": "3"}
    assert trainer.log_dir == str(tmp_path / logger.experiment_id / logger.run_id)


def test_how_a_run_ended(tmp_path):
    class Ends(Net):
        error: Any = None

        def on_train_epoch_start(self) -> None:
            raise self.error

    for error, status in ((ArithmeticError("x"), "FAILED"), (KeyboardInterrupt(), "KILLED")):
        logger = MLFlowLogger(save_dir=tmp_path)
        trainer = pl.Trainer(logger=logger, progress_bar_refresh_rate=0, weights_summary=None, max_epochs=1)
        net = Ends()
        net.error = error
        with suppress(ArithmeticError):
            trainer.fit(net, batches(2))
        assert client(logger).get_run(logger.run_id).info.status == status


def test_nothing_is_begun_before_something_is_written(tmp_path):
    logger = MLFlowLogger(save_dir=tmp_path / "runs")
    logger.save()
    logger.finalize("success")
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_run_goes_on(tmp_path):
    first = MLFlowLogger("mine", save_dir=tmp_path)
    first.log_metrics({"a": 1}, 0)
    second = MLFlowLogger(save_dir=tmp_path, run_id=first.run_id)
    second.log_metrics({"a": 2}, 1)
    assert history(first, "a") == [(0, 1.0), (1, 2.0)]
    assert second.experiment_id == first.experiment_id
    third = MLFlowLogger("mine", save_dir=tmp_path)
    assert third.experiment_id == first.experiment_id
    assert third.run_id != first.run_id


@pytest.mark.parametrize("through", [copy.deepcopy, lambda logger: pickle.loads(pickle.dumps(logger))])
def test_a_copy_writes_to_the_same_run(through, tmp_path):
    logger = MLFlowLogger(save_dir=tmp_path)
    logger.log_metrics({"a": 1}, 0)
    other = through(logger)
    other.log_metrics({"a": 2}, 1)
    assert history(logger, "a") == [(0, 1.0), (1, 2.0)]


def test_a_checkpoint_of_no_metric_has_no_score(tmp_path):
    logger = MLFlowLogger(save_dir=tmp_path / "runs", log_model=True)
    fitted(logger, ModelCheckpoint(tmp_path / "kept", filename="{epoch}"))
    told = Path(logger.log_dir, "artifacts", "epoch=1", "metadata.json").read_text()
    assert '"score": null' in told


@pytest.mark.parametrize(("log_model", "kept"), [(False, set()), (True, {"epoch=1"}), ("all", {"epoch=0", "epoch=1"})])
def test_checkpoints_are_uploaded(log_model, kept, tmp_path):
    logger = MLFlowLogger(save_dir=tmp_path / "runs", log_model=log_model)
    fitted(logger, ModelCheckpoint(tmp_path / "kept", monitor="val", filename="{epoch}", mode="min"))
    listed = {each.path for each in client(logger).list_artifacts(logger.run_id)}
    assert listed == kept
    for place in kept:
        inside = {each.path for each in client(logger).list_artifacts(logger.run_id, place)}
        assert inside == {f"{place}/{place}.ckpt", f"{place}/metadata.json"}
    if kept:
        uploaded = Path(logger.log_dir, "artifacts", "epoch=1", "epoch=1.ckpt")
        assert uploaded.read_bytes() == (tmp_path / "kept" / "epoch=1.ckpt").read_bytes()
        told = Path(logger.log_dir, "artifacts", "epoch=1", "metadata.json").read_text()
        assert '"aliases": ["latest", "best"]' in told
