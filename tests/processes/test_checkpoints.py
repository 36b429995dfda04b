"""Checkpoints of two real processes: decided alike, written once, and continued by both."""

from __future__ import annotations

import os


def test_both_know_the_same_files_which_one_has_written(pair, tmp_path):
    first, second = pair.run("checkpoints", tmp_path, first=[1.0, 5.0])
    told = first.pop("warnings"), second.pop("warnings")
    assert first == second
    assert first["score"] == 3.5, "the mean of both"
    assert first["at"] == (3, 0, 9)
    assert sorted(os.listdir(tmp_path)) == sorted(map(os.path.basename, [*first["kept"], first["last"]]))
    assert not [text for texts in told for text in texts if "process 0" in text]


def test_a_clock_on_the_wall_has_both_save_at_the_same_batches(pair, tmp_path):
    first, second = pair.run("saved_by_time", tmp_path, microseconds=[1, 10**9])
    assert first == second
    assert first
    assert sorted(os.listdir(tmp_path)) == [os.path.basename(path) for path in first]


def test_a_metric_that_differs_has_both_stop_after_the_same_epoch(pair, tmp_path):
    first, second = pair.run("stops_early", tmp_path, worse=[1.0, -1.0])
    assert first == second == (2, 0, 6)


def test_both_end_where_the_first_has_no_place_to_write_to(pair, tmp_path):
    (tmp_path / "file").write_text("in the way")
    (_, first), (_, second) = told = pair.outcomes("nowhere_to_save", tmp_path)
    assert [kind for kind, _ in told] == ["raised"] * 2
    assert "file" in first.splitlines()[0]
    assert second.startswith("RuntimeError: process 0 of 2 failed, so this one, 1, ends too: ")
