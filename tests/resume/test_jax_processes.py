"""JAX: real processes, killed with SIGKILL at every stage of the writing of a checkpoint while the run goes on."""

from __future__ import annotations

import os

import pytest

from tests.resume.jax_in_processes import KILLS
from tests.resume.scripts import results_of


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """One script for all of them: importing is what takes the time."""
    return results_of("jax_in_processes", tmp_path_factory.mktemp("processes"), {**os.environ, "JAX_PLATFORMS": "cpu"})


@pytest.mark.parametrize("where", [f"{stage} {ns}" for stage, ns in KILLS])
def test_killed_while_it_is_written(where, results):
    """The next process goes on from the newest whole checkpoint, and ends with the same bits, scores and files."""
    assert results[where] == []
