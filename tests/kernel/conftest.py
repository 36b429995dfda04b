"""Hypothesis for the kernel's laws: the same examples in every run, and no clock. JAX computes in double precision, as
the others do."""

import pytest
from hypothesis import settings

settings.register_profile("laws", derandomize=True, deadline=None, database=None, max_examples=60)
settings.load_profile("laws")


@pytest.fixture(autouse=True)
def in_double_precision(request):
    """Where a law is checked on JAX."""
    kind = getattr(request.node, "callspec", None) and request.node.callspec.params.get("kind")
    if getattr(kind, "name", "") != "jax":
        yield
        return
    import jax

    with jax.enable_x64(True):
        yield
