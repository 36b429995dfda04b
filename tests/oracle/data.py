"""Small random parameters and batches, each a function of the generator that it is given."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.oracle.models import Batch
from tests.oracle.trees import Arrays

D_IN, D_HIDDEN, D_OUT = 3, 4, 2


def _normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    return rng.normal(size=shape).astype(dtype)


def linear_params(rng: np.random.Generator, dtype: Any = np.float64) -> Arrays:
    return {"w": _normal(rng, (D_IN, D_OUT), dtype), "b": _normal(rng, (D_OUT,), dtype)}


def mlp_params(rng: np.random.Generator, dtype: Any = np.float64) -> Arrays:
    shapes = {"w1": (D_IN, D_HIDDEN), "b1": (D_HIDDEN,), "w2": (D_HIDDEN, D_OUT), "b2": (D_OUT,)}
    return {name: _normal(rng, shape, dtype) for name, shape in shapes.items()}


def weights(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.uniform(0.1, 5.0, n)


def regression(rng: np.random.Generator, n: int, dtype: Any = np.float64) -> Batch:
    return Batch(_normal(rng, (n, D_IN), dtype), _normal(rng, (n, D_OUT), dtype))


def classes(rng: np.random.Generator, n: int, dtype: Any = np.float64) -> Batch:
    return Batch(_normal(rng, (n, D_IN), dtype), rng.integers(D_OUT, size=n))


def sequences(rng: np.random.Generator, n: int, time: int) -> Batch:
    return Batch(_normal(rng, (n, time, 2), np.float64), _normal(rng, (n, time, 2), np.float64))
