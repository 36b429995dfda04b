"""numpy = torch = jax, update by update."""

from importlib import import_module

import numpy as np
import pytest

from tests.parity import by_numpy, cases

CASES = {
    "sgd, accumulated, scaled, overflow, clipped by norm": cases.accumulated("sgd", clip_norm=0.5),
    "adamw, accumulated, scaled, overflow, clipped by norm": cases.accumulated("adamw", clip_norm=0.5),
    "sgd, accumulated, scaled, overflow, clipped by value": cases.accumulated("sgd", clip_value=0.05),
    "sgd, plain": cases.plain("sgd"),
    "adamw, plain": cases.plain("adamw"),
    "truncated, an update a piece": cases.truncated(1),
    "truncated, two pieces an update": cases.truncated(2),
}


@pytest.mark.parametrize("framework", ["torch", "jax"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_losses_and_parameters_agree_update_by_update(case, framework):
    pytest.importorskip(framework)
    got = import_module(f"tests.parity.by_{framework}").run(case)
    want = by_numpy.run(case)
    assert len(got) == len(want) == len(case.batches)
    for at, (mine, oracle) in enumerate(zip(got, want, strict=True)):
        assert (mine.finite, mine.scale, mine.skipped) == (oracle.finite, oracle.scale, oracle.skipped), at
        np.testing.assert_allclose(mine.loss, oracle.loss, 1e-5, 1e-5, err_msg=f"loss {at}")
        if oracle.norm is None or not oracle.finite:
            assert mine.norm is None or not np.isfinite(mine.norm)
        else:
            np.testing.assert_allclose(mine.norm, oracle.norm, 1e-4, err_msg=f"norm {at}")
        for name, p in oracle.params.items():
            np.testing.assert_allclose(mine.params[name], p, rtol=0, atol=1e-5, err_msg=f"{name} {at}")


def test_the_cases_are_what_they_say():
    """The overflow happens once, where it was put; the clipping bites; the scale moves both ways."""
    shown = by_numpy.run(CASES["adamw, accumulated, scaled, overflow, clipped by norm"])
    assert [at for at, seen in enumerate(shown) if not seen.finite] == [cases.OVERFLOW_AT]
    assert 1e30 < shown[cases.OVERFLOW_AT].loss < np.finfo(np.float32).max
    norms = [seen.norm for seen in shown if seen.finite and seen.norm is not None]
    assert min(norms) < 0.5 < max(norms)
    assert [shown[at].scale for at in (13, 14, 18, 19, 33, 34)] == [2.0**e for e in (8, 9, 9, 8, 8, 9)]
    before, after = shown[cases.OVERFLOW_AT - 1].params, shown[cases.OVERFLOW_AT].params
    assert all(np.array_equal(before[name], after[name]) for name in before)
