"""Metrics as monoids: an empty value, an associative merge, and compute. Pure arithmetic; any scalars.

Merging over steps is not reducing over devices: both use `merge`, and a mean of means is never taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from functrain.kernel.state import Scalar


class Running(NamedTuple):
    """A metric's running value: what has come together so far, and the weight of it."""

    total: Scalar
    weight: Scalar


class Monoid(NamedTuple):
    """One way to bring observations together.

    Attributes:
        empty: neutral: `merge(empty, a) == merge(a, empty) == a`.
        lift: (value, weight) of one observation to a running value.
        merge: associative; `compute` of a merge does not depend on how the observations were grouped.
        compute: the value; where nothing was observed NaN for the mean, and the neutral value for the others.
    """

    empty: Running
    lift: Callable[[Scalar, Scalar], Running]
    merge: Callable[[Running, Running], Running]
    compute: Callable[[Running], Scalar]


def _total(running: Running) -> Scalar:
    return running.total


def _mean(running: Running) -> Scalar:
    if isinstance(running.weight, float | int) and not running.weight:
        return float("nan")
    return running.total / running.weight


def _weighted(value: Scalar, weight: Scalar) -> Running:
    return Running(value * weight, weight)


def _as_is(value: Scalar, weight: Scalar) -> Running:
    return Running(value, weight)


def _add(a: Running, b: Running) -> Running:
    return Running(a.total + b.total, a.weight + b.weight)


def monoids(maximum: Callable[[Scalar, Scalar], Scalar]) -> Mapping[str, Monoid]:
    """Return the monoids by name: 'mean' (weighted), 'sum', 'max' and 'min'.

    Args:
        maximum: the larger of two scalars of the arrays in use, NaN where either is NaN.
    """

    def larger(a: Running, b: Running) -> Running:
        return Running(maximum(a.total, b.total), a.weight + b.weight)

    def smaller(a: Running, b: Running) -> Running:
        return Running(-maximum(-a.total, -b.total), a.weight + b.weight)

    inf = float("inf")
    return {
        "mean": Monoid(Running(0.0, 0.0), _weighted, _add, _mean),
        "sum": Monoid(Running(0.0, 0.0), _as_is, _add, _total),
        "max": Monoid(Running(-inf, 0.0), _as_is, larger, _total),
        "min": Monoid(Running(inf, 0.0), _as_is, smaller, _total),
    }
