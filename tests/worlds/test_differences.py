"""Each difference of the tables is real: its example differs, though nothing else in it does."""

from pathlib import Path

import pytest

from tests.worlds.differences import TORCH_AND_JAX, Difference
from tests.worlds.test_torch_and_jax import PAIR


@pytest.mark.parametrize("row", TORCH_AND_JAX, ids=lambda row: row.reason)
def test_a_difference_of_torch_and_jax_is_still_there(row: Difference, tmp_path: Path):
    assert row.concerns(row.example)
    assert PAIR.differ(row.example, tmp_path) is not None, "they agree now: take this row out of differences.py"
