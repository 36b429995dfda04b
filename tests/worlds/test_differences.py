"""Each difference of the tables is real: its example differs, though nothing else in it does."""

from pathlib import Path

import pytest

from tests.worlds.differences import TORCH_AND_JAX
from tests.worlds.test_torch_and_jax import PAIR


@pytest.mark.skipif(not TORCH_AND_JAX, reason="torch and JAX differ nowhere on purpose: the table is empty")
def test_the_differences_of_torch_and_jax_are_still_there(tmp_path: Path):
    agree = [row.reason for row in TORCH_AND_JAX if PAIR.differ(row.example, tmp_path) is None]
    assert not agree, "they agree now: take these rows out of differences.py"
    assert all(row.concerns(row.example) for row in TORCH_AND_JAX)
