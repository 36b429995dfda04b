"""Of several processes the first prints the profiler's report and writes to the tracking library."""

from __future__ import annotations

from pathlib import Path

from mlflow.tracking import MlflowClient


def test_the_first_prints_its_report(pair, tmp_path):
    first, second = pair.run("reporting.printed", tmp_path)
    assert first.count("FIT Profiler Report") == 1
    assert second == ""


def test_each_writes_a_report_of_its_own(pair, tmp_path):
    assert pair.run("reporting.written", tmp_path) == ["", ""]
    found = sorted(tmp_path.rglob("fit-times*.txt"))
    assert [path.name for path in found] == ["fit-times-0.txt", "fit-times-1.txt"]
    assert found[0].parent == found[1].parent
    assert all("training_step" in path.read_text() for path in found)


def test_they_have_one_run_of_a_tracking_library(pair, tmp_path, monkeypatch):
    (run, place, _), (same, _, writes) = pair.run("reporting.tracked", tmp_path)
    print(run, place)
    assert run == same
    assert not writes
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = MlflowClient(f"file:{tmp_path / 'runs'}")
    assert [each.info.run_id for each in client.search_runs([Path(place).parent.name])] == [run]
    assert [(each.step, each.value) for each in client.get_metric_history(run, "loss")] == [(2, 1.0), (4, 1.0)]
