"""Metrics are monoids: associative, with a neutral empty value, exact over batches of any lengths."""

import math
from fractions import Fraction
from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functrain.kernel import Running, monoids

MONOIDS = monoids(lambda a, b: float(np.maximum(a, b)))

# Whole numbers small enough that float64 adds and multiplies them without rounding.
values = st.integers(-(2**20), 2**20).map(float)
weights = st.integers(1, 2**10).map(float)
observations = st.tuples(values, weights)
kinds = pytest.mark.parametrize("kind", ["mean", "sum", "max", "min"])


def textbook(kind, observed):
    """In exact fractions."""
    pairs = [(Fraction(value), Fraction(weight)) for value, weight in observed]
    if kind == "mean":
        return sum(v * w for v, w in pairs) / sum(w for _, w in pairs)
    return {"sum": sum, "max": max, "min": min}[kind](v for v, _ in pairs)


def together(kind, observed):
    m = MONOIDS[kind]
    return reduce(m.merge, (m.lift(*o) for o in observed), m.empty)


@kinds
@given(observations, observations, observations)
def test_merge_is_associative_and_commutative(kind, a, b, c):
    m = MONOIDS[kind]
    a, b, c = m.lift(*a), m.lift(*b), m.lift(*c)
    assert m.merge(m.merge(a, b), c) == m.merge(a, m.merge(b, c))
    assert m.merge(a, b) == m.merge(b, a)


@kinds
@given(observations)
def test_empty_is_neutral(kind, observation):
    m = MONOIDS[kind]
    a = m.lift(*observation)
    assert m.merge(m.empty, a) == a == m.merge(a, m.empty)
    assert m.merge(m.empty, m.empty) == m.empty


@kinds
@given(st.lists(observations, min_size=1, max_size=20))
def test_the_value_is_the_textbook_s_to_the_last_bit(kind, observed):
    assert MONOIDS[kind].compute(together(kind, observed)) == float(textbook(kind, observed))


@kinds
@given(st.lists(st.lists(observations, max_size=5), min_size=1, max_size=6))
def test_steps_and_replicas_may_be_merged_in_any_grouping(kind, groups):
    """Each group by itself and then the groups, empty ones too: the same as one after another."""
    m = MONOIDS[kind]
    grouped = reduce(m.merge, (together(kind, group) for group in groups), m.empty)
    assert grouped == together(kind, [o for group in groups for o in group])


@given(st.lists(st.lists(values, min_size=1, max_size=7), min_size=1, max_size=6))
def test_the_mean_over_ragged_batches_is_that_of_all_samples(batches):
    """Each batch reports its own mean with its length; at lengths of powers of two that mean is exact."""
    batches = [batch[: 1 << (len(batch).bit_length() - 1)] for batch in batches]
    running = together("mean", [(sum(batch) / len(batch), float(len(batch))) for batch in batches])
    samples = [Fraction(x) for batch in batches for x in batch]
    assert MONOIDS["mean"].compute(running) == float(sum(samples) / len(samples))


def test_a_mean_of_means_is_not_the_mean():
    assert MONOIDS["mean"].compute(together("mean", [(1.0, 1.0), (0.0, 3.0)])) == 0.25


def test_of_nothing():
    computed = {kind: m.compute(m.empty) for kind, m in MONOIDS.items()}
    assert math.isnan(computed.pop("mean"))
    assert computed == {"sum": 0.0, "max": -math.inf, "min": math.inf}


@pytest.mark.parametrize("kind", ["max", "min"])
def test_nan_is_not_hidden_by_a_larger_value(kind):
    for observed in ([(math.nan, 1.0), (1.0, 1.0)], [(1.0, 1.0), (math.nan, 1.0)]):
        assert math.isnan(MONOIDS[kind].compute(together(kind, observed)))


def test_values_may_be_arrays():
    """Several metrics side by side, or one a class: everything is taken element by element."""
    elementwise = monoids(np.maximum)
    for kind in ("mean", "sum", "max", "min"):
        m = elementwise[kind]
        pieces = [m.lift(np.array([1.0, -4.0]), 1.0), m.lift(np.array([3.0, 0.0]), 3.0)]
        running = m.merge(*pieces)
        assert isinstance(running, Running)
        want = [MONOIDS[kind].compute(together(kind, [(a, 1.0), (b, 3.0)])) for a, b in ((1.0, 3.0), (-4.0, 0.0))]
        np.testing.assert_array_equal(m.compute(running), want)
