"""What holds for the whole suite."""

from __future__ import annotations

import signal

import pytest

# A suite that a shell starts in the background inherits an ignored Ctrl-C, and so would every process that it starts;
# the tests of Ctrl-C need the one that a terminal gives.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """A Trainer that is told no place writes below the working directory: every test has one of its own."""
    monkeypatch.chdir(tmp_path)
