"""A run of two real processes that is killed in the middle of an epoch, each with data and noise of its own, and
continues."""

from __future__ import annotations

import pytest

AFTER = 3
"""Within the first epoch, and within a window of two batches."""


@pytest.mark.parametrize("loader", ["Batches", "WithPlace"])
def test_two_killed_processes_go_on_with_their_own_batches_and_noise(pair, tmp_path, loader):
    path = str(tmp_path / "killed.ckpt")
    whole = pair.run("resuming.run", tmp_path, loader=loader)
    pair.run("resuming.run", tmp_path, loader=loader, after=AFTER, path=path)
    rest = pair.run("resuming.run", tmp_path, loader=loader, path=path, seed=2)
    assert whole[0]["seen"] != whole[1]["seen"]
    assert whole[0]["weight"] == whole[1]["weight"]
    for own, undisturbed in zip(rest, whole, strict=True):
        assert own["seen"] == undisturbed["seen"][AFTER:]
        assert own["drawn"] == undisturbed["drawn"][AFTER:]
        for what in ("weight", "metrics", "sum", "warnings"):
            assert own[what] == undisturbed[what], what


def test_two_processes_go_on_from_a_file_in_the_middle_of_many_batches_at_once(pair, tmp_path):
    whole = pair.run("resuming.at_once", tmp_path / "whole")
    path = whole[0]["saved"][1]
    rest = pair.run("resuming.at_once", tmp_path / "rest", path=path, seed=2)
    for own, undisturbed in zip(rest, whole, strict=True):
        assert (own["weight"], own["clock"], own["metrics"]) == tuple(
            undisturbed[what] for what in ("weight", "clock", "metrics")
        )


def test_what_is_the_same_in_all_is_kept_once(pair, tmp_path):
    path = str(tmp_path / "killed.ckpt")
    pair.run("resuming.run", tmp_path, loader="Batches", after=AFTER, path=path)
    kept = pair.run("resuming.kept", tmp_path, path=path)[0]
    assert kept["rng"] > 0
    assert "callbacks/Watches" in kept
    assert "callbacks/Same" not in kept


def test_one_process_that_continues_what_two_began_says_what_is_lost(pair, tmp_path):
    path = str(tmp_path / "killed.ckpt")
    pair.run("resuming.run", tmp_path, loader="Batches", after=AFTER, path=path)
    first, _ = pair.run("resuming.alone", tmp_path, path=path)
    (message,) = first
    assert message.startswith(
        f"{path} was written by 2 processes, and it is continued by 1 process with the random state"
    )
    assert message.endswith("of process 0. What the other 1 process had is lost.")


def test_two_processes_that_continue_what_one_began_say_that_they_draw_alike(pair, tmp_path):
    path = str(tmp_path / "alone.ckpt")
    pair.run("resuming.alone", tmp_path, path=path, after=AFTER)
    first, second = pair.run("resuming.run", tmp_path, loader="Batches", path=path)
    (message,) = first["warnings"]
    assert "was written by 1 process, and it is continued by 2 processes with the random state" in message
    assert "What they draw is the same in each" in message
    assert second["warnings"] == []
    assert first["drawn"] == second["drawn"]


def test_both_end_where_the_state_of_one_cannot_be_stored(pair, tmp_path):
    (_, first), (_, second) = pair.outcomes("resuming.unstorable", tmp_path, path=str(tmp_path / "none.ckpt"))
    assert second.startswith("ConfigurationError: checkpoint[")
    assert first.startswith("RuntimeError: process 1 of 2 failed, so this one, 0, ends too: ConfigurationError")
    assert not (tmp_path / "none.ckpt").exists()
