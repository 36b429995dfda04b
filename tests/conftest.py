"""What holds for the whole suite."""

from __future__ import annotations

import gc
import signal
import sys
from pathlib import Path

import pytest

MOST_MAPPINGS = 20000
"""Linux gives a process 65530 mappings of memory; one more, and it dies without a word."""

# A suite that a shell starts in the background inherits an ignored Ctrl-C, and so would every process that it starts;
# the tests of Ctrl-C need the one that a terminal gives.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """A Trainer that is told no place writes below the working directory: every test has one of its own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module", autouse=True)
def room_for_programs():
    """Each compiled program of JAX takes some mappings of memory, and a whole suite of them more than there are."""
    yield
    maps = Path("/proc/self/maps")
    if "jax" in sys.modules and maps.exists() and len(maps.read_bytes().splitlines()) > MOST_MAPPINGS:
        gc.collect()
        sys.modules["jax"].clear_caches()
        gc.collect()
