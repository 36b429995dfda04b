"""Which source a run has: what git says of the folder of its script. Nothing of it may fail a run, or run a helper."""

from __future__ import annotations

import subprocess

import pytest

from functrain.source import _source_of


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with one file committed, and its script."""
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(name, "somebody")
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "train.py").write_text("1\n")
    git(folder, "init", "-q")
    git(folder, "add", "train.py")
    git(folder, "commit", "-qm", "one")
    return folder


def git(folder, *command):
    return subprocess.run(["git", "-C", folder, *command], check=True, capture_output=True, text=True).stdout.strip()


def told(folder):
    _source_of.cache_clear()
    return _source_of(str(folder), str(folder / "train.py"))


def test_a_clean_tree_has_a_revision(repository):
    assert told(repository) == (git(repository, "rev-parse", "HEAD"), True, "")


def test_a_changed_file_is_told(repository):
    (repository / "train.py").write_text("2\n")
    assert told(repository) == (git(repository, "rev-parse", "HEAD"), False, "changed files: 1")


def test_data_beside_the_script_do_not_count_and_a_script_that_is_not_committed_does(repository):
    (repository / "logs.txt").write_text("x")
    assert told(repository).clean is True
    _source_of.cache_clear()
    assert _source_of(str(repository), str(repository / "logs.txt"))[1:] == (False, "git does not know logs.txt")


def test_a_repository_without_a_commit_has_no_revision(tmp_path):
    git(tmp_path, "init", "-q")
    assert told(tmp_path) == (None, False, "nothing is committed yet")


def test_a_folder_without_a_repository_is_told(tmp_path):
    assert told(tmp_path) == (None, None, f"no git repository at {tmp_path}")


def test_a_machine_without_git_is_told(repository, monkeypatch):
    monkeypatch.setenv("PATH", str(repository))
    assert told(repository)[:2] == (None, None)
    assert "git cannot be asked" in told(repository).why


def test_what_a_repository_would_have_run_is_not_run(repository, tmp_path):
    helper = tmp_path / "helper"
    helper.write_text(f"#!/bin/sh\ntouch {tmp_path / 'was_run'}\n")
    helper.chmod(0o755)
    git(repository, "config", "core.fsmonitor", str(helper))
    assert told(repository).clean is True
    assert not (tmp_path / "was_run").exists()


def test_the_repository_of_a_hook_of_git_is_not_taken_for_that_of_the_script(repository, tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    git(tmp_path / "other", "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    assert told(repository).clean is True
