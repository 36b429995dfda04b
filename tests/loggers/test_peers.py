"""What the loggers of wandb and mlflow write is what those of pytorch-lightning write of the same calls."""

from __future__ import annotations

from typing import Any

import mlflow
import pytest
import wandb
from mlflow.tracking import MlflowClient
from pytorch_lightning import loggers as theirs

from functrain import loggers as ours
from tests.loggers.test_wandb import config, records, rows

HPARAMS = {"lr": 0.1, "net": {"act": "relu", "width": 3}, "layers": [1, 2], "name": None}


def logged(logger: Any) -> Any:
    """Some calls of a run."""
    logger.log_hyperparams(HPARAMS)
    logger.log_metrics({"loss": 0.5, "epoch": 0}, step=3)
    logger.log_metrics({"loss": 0.25, "val/acc": 1.0}, step=7)
    logger.finalize("success")
    return logger


@pytest.fixture
def place_of_mlflow(monkeypatch):
    """Theirs leaves its place in the process and in the environment."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    yield
    mlflow.set_tracking_uri("")


def test_mlflow(tmp_path, place_of_mlflow):
    told = []
    for module in (ours, theirs):
        made = logged(
            module.MLFlowLogger("mine", run_name="shown", tags={"a": "b"}, save_dir=str(tmp_path), prefix="p")
        )
        run = MlflowClient(f"file:{tmp_path}").get_run(made.run_id)
        history = MlflowClient(f"file:{tmp_path}").get_metric_history(made.run_id, "p-loss")
        told.append((run.data.params, run.data.metrics, run.data.tags, run.info.status, run.info.run_name))
        told[-1] += ([(each.step, each.value) for each in history], made.name, made.save_dir)
    assert told[0] == told[1]


def test_wandb(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    told = []
    for module in (ours, theirs):
        monkeypatch.delenv("WANDB_MODE", raising=False)
        made = module.WandbLogger(
            name="shown", project="mine", save_dir=str(tmp_path / module.__name__), version="abc", prefix="p",
            mode="offline",
        )  # fmt: skip
        found = records(logged(made))
        wandb.finish()
        (run,) = [record.run for record in found if record.WhichOneof("record_type") == "run"]
        metrics = {
            (record.metric.name or record.metric.glob_name, record.metric.step_metric)
            for record in found
            if record.WhichOneof("record_type") == "metric"
        }
        told.append((rows(found), config(found), run.display_name, run.project, run.run_id, metrics, made.name))
    assert told[0] == told[1]


@pytest.mark.parametrize("name", ["CometLogger", "MLFlowLogger", "WandbLogger"])
def test_the_names_of_a_logger(name):
    """The public methods and properties of theirs that are of the API are there."""
    later = {"download_artifact", "use_artifact", "log_audio", "log_video", "root_dir", "rank_zero_only"}
    public = {each for each in vars(getattr(theirs, name)) if not each.startswith("_")}
    assert public - later <= set(dir(getattr(ours, name)))
