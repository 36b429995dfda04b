"""JAX: real processes, killed with SIGKILL at every stage of the writing of a checkpoint while the run goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.resume.jax_in_processes import KILLS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """One script for all of them: importing is what takes the time."""
    directory = tmp_path_factory.mktemp("processes")
    done = subprocess.run(
        [sys.executable, "-m", "tests.resume.jax_in_processes", str(directory)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'adapters'}", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("where", [f"{stage} {ns}" for stage, ns in KILLS])
def test_killed_while_it_is_written(where, results):
    """The next process goes on from the newest whole checkpoint, and ends with the same bits, scores and files."""
    assert results[where] == []
