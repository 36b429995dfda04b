"""Unscale, mean and clip are one factor, on every backend: the textbook's three steps at any scale, in any norm."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functrain.kernel import Accumulator, Clip, LossScale, Rule, ScaleRule, gradient_factor, step
from functrain.kernel.scale import CLIP_EPS
from tests.kernel.backends import law, on_every_backend, params
from tests.oracle import SGD, NumpyBackend, Part, inner
from tests.oracle.trees import assert_close

# A plain step of length 1: parameters that start at 0 end at minus the gradient that the optimizer was given.
PART = Part(inner, SGD(1.0))
BACKEND = NumpyBackend(PART)
NAMES = {"a": (3, 2), "b": (4,)}

seeds = st.integers(0, 2**32 - 1)
exponents = st.integers(-20, 60)
orders = st.sampled_from([1.0, 2.0, 3.0, float("inf")])
bounds = st.floats(0.01, 100.0)


def micro_batches(seed, k):
    """Gradients over nine orders of magnitude, each with its weight."""
    rng = np.random.default_rng(seed)
    size = 10.0 ** rng.integers(-4, 5)
    return [
        {name: size * rng.normal(size=shape) for name, shape in NAMES.items()} | {"weight": rng.uniform(0.1, 9.0)}
        for _ in range(k)
    ]


def mean_of(micros):
    total = sum(m["weight"] for m in micros)
    return {name: sum(m["weight"] * m[name] for m in micros) / total for name in NAMES}


def given_to_the_optimizer(kind, clip, exponent, micros):
    rules = (Rule(clip, ScaleRule(init=2.0**exponent)),)
    zeros = {name: np.zeros(shape) for name, shape in NAMES.items()}
    backend = kind.backend(PART)
    state, (report,) = step(backend, rules, kind.init(backend, zeros, rules), micros)
    return {name: -p for name, p in params(state).items()}, report


def norm_of(grads, p):
    return np.linalg.norm(np.concatenate([g.ravel() for g in grads.values()]), p)


@law(seeds, st.integers(1, 4), exponents)
def test_unscaled_mean(kind, seed, k, exponent):
    micros = micro_batches(seed, k)
    got, report = given_to_the_optimizer(kind, Clip(), exponent, micros)
    assert_close(got, mean_of(micros))
    assert report.norm is None


@law(seeds, st.integers(1, 4), exponents, bounds, orders)
def test_clip_by_norm(kind, seed, k, exponent, bound, p):
    micros = micro_batches(seed, k)
    got, report = given_to_the_optimizer(kind, Clip(norm=bound, p=p), exponent, micros)
    mean = mean_of(micros)
    norm = norm_of(mean, p)
    assert_close(got, {name: g * min(1.0, bound / (norm + CLIP_EPS)) for name, g in mean.items()})
    np.testing.assert_allclose(float(report.norm), norm, rtol=1e-12)
    assert norm_of(got, p) <= bound * (1 + 1e-12)


@law(seeds, st.integers(1, 4), exponents, bounds)
def test_clip_by_value(kind, seed, k, exponent, bound):
    micros = micro_batches(seed, k)
    got, _ = given_to_the_optimizer(kind, Clip(value=bound), exponent, micros)
    assert_close(got, {name: np.clip(g, -bound, bound) for name, g in mean_of(micros).items()})


@law(seeds, exponents, bounds, bounds, orders)
def test_clip_by_both_is_norm_first(kind, seed, exponent, bound, limit, p):
    micros = micro_batches(seed, 2)
    got, _ = given_to_the_optimizer(kind, Clip(norm=bound, value=limit, p=p), exponent, micros)
    mean = mean_of(micros)
    shrink = min(1.0, bound / (norm_of(mean, p) + CLIP_EPS))
    assert_close(got, {name: np.clip(g * shrink, -limit, limit) for name, g in mean.items()})


@given(seeds, exponents)
def test_a_gradient_within_the_bound_is_left_as_it_is(seed, exponent):
    """The factor is that of no clipping, to the bit."""
    rng = np.random.default_rng(seed)
    acc = Accumulator({"a": rng.uniform(-1, 1, 5) * 2.0**exponent}, weight=3.0, count=3)
    scale = LossScale(2.0**exponent)
    factor, finite, norm = gradient_factor(BACKEND, Clip(norm=10.0), acc, scale)
    assert factor == gradient_factor(BACKEND, Clip(), acc, scale)[0]
    assert finite
    assert norm < 10.0


@on_every_backend
def test_a_gradient_of_zero_stays_zero(kind):
    zeros = {name: np.zeros(shape) for name, shape in NAMES.items()}
    for clip in (Clip(norm=1.0), Clip(value=1.0), Clip(norm=1.0, p=float("inf"))):
        got, _ = given_to_the_optimizer(kind, clip, 0, [zeros])
        assert_close(got, zeros, rtol=0, atol=0)


def test_nothing_looks_for_bad_gradients_unless_asked():
    acc = Accumulator({"a": np.array([np.inf])}, weight=1.0, count=1)
    assert gradient_factor(BACKEND, Clip(), acc, None) == (1.0, True, None)
    assert gradient_factor(BACKEND, Clip(), acc, None, skip_nonfinite=True)[1] is False
    assert gradient_factor(BACKEND, Clip(norm=1.0), acc, None, skip_nonfinite=True)[1] is False
    assert gradient_factor(BACKEND, Clip(), acc, LossScale(1.0))[1] is False


@pytest.mark.parametrize("bound", [0, 0.0, -1.0, float("nan")])
@pytest.mark.parametrize("which", ["norm", "value"])
def test_a_bound_that_is_not_above_zero_is_an_error(which, bound):
    with pytest.raises(ValueError, match=rf"Clip\({which}=.*must be > 0"):
        Clip(**{which: bound})
