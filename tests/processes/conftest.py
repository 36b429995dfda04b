"""The two processes of each framework, for all tests of this folder."""

from __future__ import annotations

import pytest

from tests.processes.pair import Pair


@pytest.fixture(scope="package", params=["torch", "jax"])
def pair(request):
    made = Pair(request.param)
    yield made
    made.close()
