"""csv.py: rows are appended, columns may grow, runs continue, and nothing is lost."""

from __future__ import annotations

import csv
import io
import math
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from functrain.loggers import CSVLogger, metrics_file
from functrain.trainer.hparams import load_hparams_yaml

ROOT = Path(__file__).resolve().parents[2]


def table(logger: CSVLogger) -> list[dict[str, str]]:
    with open(Path(logger.log_dir) / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file, restkey="too many", restval="too few"))
    assert all("too many" not in row and "too few" not in row.values() for row in rows)
    return rows


def test_one_row_a_call_and_one_column_a_metric(tmp_path):
    logger = CSVLogger(tmp_path)
    logger.log_metrics({"loss": 0.1, "epoch": 0}, step=0)
    logger.log_metrics({"loss": 1 / 3, "epoch": 1}, step=50)
    logger.finalize("success")
    path = tmp_path / "lightning_logs" / "version_0" / "metrics.csv"
    assert path.read_text() == f"step,loss,epoch\n0,0.1,0\n50,{1 / 3!r},1\n"
    assert os.listdir(path.parent) == ["metrics.csv"]


def test_nothing_is_made_before_something_is_written(tmp_path):
    logger = CSVLogger(tmp_path / "logs")
    logger.experiment.flush()
    logger.save()
    logger.after_save_checkpoint("x")
    logger.finalize("success")
    assert (logger.version, os.listdir(tmp_path)) == (0, [])


def test_columns_grow_and_rows_without_a_value_are_empty(tmp_path):
    logger = CSVLogger(tmp_path)
    logger.log_metrics({"loss": 1.0}, 0)
    logger.log_metrics({"val, loss": 2.0}, 1)
    logger.log_metrics({"loss": 3.0, 'a"b': 4.0}, 2)
    logger.log_metrics({}, 3)
    logger.log_metrics({"loss": 5.0})
    logger.save()
    assert table(logger) == [
        {"step": "0", "loss": "1.0", "val, loss": "", 'a"b': ""},
        {"step": "1", "loss": "", "val, loss": "2.0", 'a"b': ""},
        {"step": "2", "loss": "3.0", "val, loss": "", 'a"b': "4.0"},
        {"step": "3", "loss": "", "val, loss": "", 'a"b': ""},
        {"step": "", "loss": "5.0", "val, loss": "", 'a"b': ""},
    ]


def test_the_file_is_not_rewritten_for_a_row(tmp_path):
    logger = CSVLogger(tmp_path, flush_logs_every_n_steps=1)
    logger.log_metrics({"loss": 1.0}, 0)
    path = Path(logger.log_dir) / "metrics.csv"
    file_number = path.stat().st_ino
    for step in range(1, 20):
        logger.log_metrics({"loss": float(step)}, step)
        assert len(path.read_text().splitlines()) == step + 2
    assert path.stat().st_ino == file_number
    logger.log_metrics({"new": 1.0}, 20)
    assert path.stat().st_ino != file_number
    assert len(table(logger)) == 21


def test_not_finite_values_are_written_as_they_are(tmp_path):
    logger = CSVLogger(tmp_path)
    logger.log_metrics({"a": math.nan, "b": math.inf, "c": -math.inf}, 0)
    logger.save()
    row = table(logger)[0]
    assert math.isnan(float(row["a"]))
    assert (float(row["b"]), float(row["c"])) == (math.inf, -math.inf)


def test_rows_are_held_back_for_so_many_steps(tmp_path):
    logger = CSVLogger(tmp_path, flush_logs_every_n_steps=100)
    seen = []
    for step in (0, 50, 99, 100, 150, 199, 200, 20, 60):
        logger.log_metrics({"a": 1.0}, step)
        seen.append(len(table(logger)))
    assert seen == [1, 1, 1, 4, 4, 4, 7, 8, 8], "the first row and a step back are written at once"
    logger.after_save_checkpoint("a.ckpt")
    assert len(table(logger)) == 9


def test_a_metric_named_step_gives_way_to_the_step_and_is_told_once(tmp_path):
    logger = CSVLogger(tmp_path)
    with pytest.warns(UserWarning, match=r"name 'step' \(7\.0\) is not written"):
        logger.log_metrics({"step": 7.0, "a": 1.0}, 3)
    logger.log_metrics({"step": 7.0, "a": 1.0}, 4)
    logger.log_metrics({"step": 7.0})
    logger.save()
    assert [row["step"] for row in table(logger)] == ["3", "4", "7.0"]


def test_prefix(tmp_path):
    logger = CSVLogger(tmp_path, prefix="fold1")
    logger.log_metrics({"loss": 1.0}, 0)
    logger.save()
    assert list(table(logger)[0]) == ["step", "fold1-loss"]


def test_a_resumed_run_goes_on_in_the_same_file(tmp_path):
    for start in (0, 10):
        logger = CSVLogger(tmp_path, version="mine")
        for step in range(start, start + 10):
            logger.log_metrics({"loss": float(step)} if start == 0 else {"loss": float(step), "lr": 0.1}, step)
        logger.finalize("success")
    rows = table(logger)
    assert [row["loss"] for row in rows] == [str(float(step)) for step in range(20)]
    assert [row["lr"] for row in rows] == [""] * 10 + ["0.1"] * 10


def test_a_file_of_another_program_is_continued_in_its_own_order(tmp_path):
    directory = tmp_path / "lightning_logs" / "version_3"
    directory.mkdir(parents=True)
    (directory / "metrics.csv").write_text("epoch,loss,step\r\n0,0.5,9\r\n", newline="")
    logger = CSVLogger(tmp_path, version=3)
    logger.log_metrics({"loss": 0.25, "epoch": 1}, 19)
    logger.finalize("success")
    assert table(logger) == [
        {"epoch": "0", "loss": "0.5", "step": "9"},
        {"epoch": "1", "loss": "0.25", "step": "19"},
    ]


@pytest.mark.parametrize("content", ["", "step,los"])
def test_a_file_without_a_whole_header_starts_anew(tmp_path, content):
    logger = CSVLogger(tmp_path, version=0)
    Path(logger.log_dir).mkdir(parents=True)
    (Path(logger.log_dir) / "metrics.csv").write_text(content)
    logger.log_metrics({"loss": 1.0}, 0)
    logger.save()
    assert table(logger) == [{"step": "0", "loss": "1.0"}]


def test_a_row_cut_short_is_left_out_and_told(tmp_path, caplog):
    logger = CSVLogger(tmp_path, version=0)
    Path(logger.log_dir).mkdir(parents=True)
    (Path(logger.log_dir) / "metrics.csv").write_text("step,loss\n0,1.0\n1,0.12")
    logger.log_metrics({"loss": 0.125}, 1)
    logger.save()
    assert [row["loss"] for row in table(logger)] == ["1.0", "0.125"]
    assert "metrics.csv" in caplog.text
    assert "1,0.12" in caplog.text


def test_a_file_that_is_no_csv_is_named_and_kept(tmp_path):
    logger = CSVLogger(tmp_path, version=0)
    Path(logger.log_dir).mkdir(parents=True)
    path = Path(logger.log_dir) / "metrics.csv"
    path.write_bytes(b"\xff\xfe\x00binary\n")
    with pytest.raises(ValueError, match=r"metrics\.csv' is no CSV file"):
        logger.log_metrics({"loss": 1.0}, 0)
    assert path.read_bytes() == b"\xff\xfe\x00binary\n"


def test_two_loggers_in_turn_on_one_file(tmp_path):
    first, second = (CSVLogger(tmp_path, version=0, flush_logs_every_n_steps=1) for _ in range(2))
    first.log_metrics({"a": 1.0}, 0)
    second.log_metrics({"b": 2.0}, 1)
    first.log_metrics({"a": 3.0}, 2)
    first.log_metrics({"c": 4.0}, 3)
    second.log_metrics({"b": 5.0}, 4)
    second.log_metrics({"c": 6.0}, 5)
    cells = [(row["a"], row["b"], row["c"]) for row in table_padded(first)]
    assert cells == [
        ("1.0", "", ""),
        ("", "2.0", ""),
        ("3.0", "", ""),
        ("", "", "4.0"),
        ("", "5.0", ""),
        ("", "", "6.0"),
    ]


def table_padded(logger: CSVLogger) -> list[dict[str, str]]:
    with open(Path(logger.log_dir) / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file, restval=""))


def test_a_bad_metric_adds_no_row(tmp_path):
    logger = CSVLogger(tmp_path)
    logger.log_metrics({"loss": 1.0}, 0)
    with pytest.raises(TypeError, match="'loss' is a str"):
        logger.log_metrics({"loss": "low"}, 1)  # type: ignore[dict-item]
    logger.save()
    assert len(table(logger)) == 1


def test_hyperparameters_and_their_metrics(tmp_path):
    logger = CSVLogger(tmp_path)
    logger.log_hyperparams({"lr": 0.1, "net": object()})
    logger.log_hyperparams({"width": 3}, {"best": 0.5})
    logger.log_hyperparams({}, 0.75)
    logger.save()
    assert load_hparams_yaml(Path(logger.log_dir) / "hparams.yaml") == {"lr": 0.1, "width": 3}
    assert [(row["best"], row["hp_metric"]) for row in table(logger)] == [("0.5", ""), ("", "0.75")]


def test_a_pickled_logger_goes_on(tmp_path):
    logger = CSVLogger(tmp_path)
    logger.log_metrics({"a": 1.0}, 0)
    other = pickle.loads(pickle.dumps(logger))
    other.log_metrics({"a": 2.0}, 1)
    other.save()
    assert [row["a"] for row in table(logger)] == ["1.0", "2.0"]


def test_a_killed_run_keeps_what_was_flushed(tmp_path):
    code = """
        import os, signal, sys
        from functrain.loggers import CSVLogger
        logger = CSVLogger(sys.argv[1], version=0)
        for step in range(10):
            logger.log_metrics({"loss": float(step)}, step)
        logger.after_save_checkpoint("step-10.ckpt")
        logger.log_metrics({"loss": 10.0}, 10)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    assert subprocess.run(command, cwd=ROOT, timeout=60).returncode == -signal.SIGKILL
    logger = CSVLogger(tmp_path, version=0)
    logger.log_metrics({"loss": 10.0}, 10)
    logger.save()
    assert [row["step"] for row in table(logger)] == [str(step) for step in range(11)]


def test_flush_logs_every_n_steps_must_be_positive(tmp_path):
    with pytest.raises(ValueError, match="flush_logs_every_n_steps is 0"):
        CSVLogger(tmp_path, flush_logs_every_n_steps=0)


def test_in_a_url():
    import fsspec

    fs = fsspec.filesystem("memory")
    try:
        for step in range(3):
            logger = CSVLogger("memory://functrain-csv", name="", version="run")
            logger.log_metrics({"loss": 1.0, f"m{step}": 2.0}, step)
            logger.log_hyperparams({"lr": 1})
            logger.finalize("success")
        assert fs.cat_file("/functrain-csv/run/metrics.csv").decode() == (
            "step,loss,m0,m1,m2\n0,1.0,2.0,,\n1,1.0,,2.0,\n2,1.0,,,2.0\n"
        )
        assert fs.cat_file("/functrain-csv/run/hparams.yaml") == b"lr: 1\n"
        assert CSVLogger("memory://functrain-csv").version == 0
    finally:
        fs.rm("/functrain-csv", recursive=True)


@pytest.mark.parametrize(
    "cells",
    [
        [1, 0.1, None],
        [None, -0.0, 1e-300, 1e22, 123456789.0, math.inf, -math.inf, math.nan],
        [10**30, -7, 1 / 3],
        [None],
        [None, None],
        [2.5],
        [True, 1.0],
        ["step", "a,b", 'a"b', ""],
    ],
)
def test_a_line_is_what_the_csv_module_writes(cells):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    assert metrics_file._line(cells) == text.getvalue().encode()
