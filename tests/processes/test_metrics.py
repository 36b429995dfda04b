"""Metrics of two real processes that have different data, and the files that they write: once, and of both."""

from __future__ import annotations

import csv
import os

import pytest

from tests.processes.programs import EACH


def rows(log_dir):
    with open(os.path.join(log_dir, "metrics.csv"), newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


@pytest.fixture
def told(pair, tmp_path):
    """The first process sees 1, 2, 3 in batches of two samples, the second 5, 6, 7 in batches of six."""
    return pair.run("metrics", tmp_path, first=[1.0, 5.0], rows=[2, 6])


EPOCH = {"mean_epoch": 5.0, "sum_epoch": 24.0, "min_epoch": 1.0, "max_epoch": 7.0, "val_loss": 4.5}


def test_an_epochs_metrics_are_those_of_both(told):
    for known in (each["known"] for each in told):
        assert {name: known[name] for name in EPOCH} == EPOCH


def test_an_evaluations_results_are_those_of_both(told):
    assert [each["results"] for each in told] == [[{"val_loss": 4.5}]] * 2


def test_a_validation_of_different_lengths_weighs_every_batch_alike(pair, tmp_path):
    assert pair.run("validate", tmp_path, count=[1, 3]) == [[{"val_loss": 7 / 4}]] * 2


def test_rows_of_steps_and_epochs_are_of_both_and_written_once(told, tmp_path):
    written = rows(told[0]["log_dir"])
    assert told[1]["log_dir"] == told[0]["log_dir"]
    assert os.listdir(tmp_path / "logs") == ["version_0"]
    steps = [row for row in written if "mean_step" in row]
    assert [row["step"] for row in steps] == [1.0, 2.0, 3.0]
    assert [[row[f"{name}_step"] for name in ("mean", "sum", "min", "max")] for row in steps] == [
        [3.0, 6.0, 1.0, 5.0], [4.0, 8.0, 2.0, 6.0], [5.0, 10.0, 3.0, 7.0],
    ]  # fmt: skip
    (epoch,) = [row for row in written if "mean_epoch" in row]
    assert {name: epoch[name] for name in EPOCH if name != "val_loss"} == {
        name: value for name, value in EPOCH.items() if name != "val_loss"
    }


def test_only_the_first_process_prints(told):
    assert "val_loss" in told[0]["out"]
    assert told[1]["out"] == ""


def test_a_metric_that_only_one_process_logs_reaches_the_loggers(pair, tmp_path):
    first, second = pair.run("metrics", tmp_path, first=[1.0, 5.0], rows=2, logs=[[], EACH])
    assert {name: first["known"][name] for name in ("mean_epoch", "sum_epoch")} == {
        "mean_epoch": 6.0,
        "sum_epoch": 18.0,
    }
    assert second["known"]["min_epoch"] == 5.0
    assert [row["mean_step"] for row in rows(first["log_dir"]) if "mean_step" in row] == [5.0, 6.0, 7.0]


def test_a_value_that_is_of_one_process_alone_is_told(pair, tmp_path):
    logs = [("own", {"on_epoch": True, "on_step": False})]
    first, second = pair.run("metrics", tmp_path, first=[1.0, 5.0], rows=2, logs=[logs, logs])
    assert (first["known"]["own"], second["known"]["own"]) == (2.0, 6.0)
    (message,) = [text for text in first["warnings"] if "sync_dist" in text]
    assert "each of the 2 processes has an epoch's value of its own data for own" in message
    assert not [text for text in second["warnings"] if "sync_dist" in text]


def test_rank_zero_only_logs_in_the_first_process(pair, tmp_path):
    logs = [("first", {"on_epoch": True, "on_step": False, "rank_zero_only": True})]
    first, second = pair.run("metrics", tmp_path, first=[1.0, 5.0], rows=2, logs=[logs, logs])
    assert first["known"]["first"] == 2.0
    assert "first" not in second["known"]


@pytest.mark.parametrize("kind", ["CSVLogger", "TensorBoardLogger"])
def test_a_logger_that_a_module_calls_itself_writes_in_one_process(pair, tmp_path, kind):
    first, second = pair.run("log_by_hand", tmp_path, kind=kind)
    assert first == second
    assert os.listdir(tmp_path / "logs") == ["version_0"]
    names = os.listdir(first)
    assert "hparams.yaml" in names
    assert "manifest.json" in names
    assert len(names) == 3
    if kind == "CSVLogger":
        assert [row["by_hand"] for row in rows(first) if "by_hand" in row] == [0.0]
