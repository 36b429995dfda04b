"""The bilinear game x' A y: the first player owns x and wants little, the second owns y and wants much."""

from __future__ import annotations

import numpy as np

from functrain.kernel.state import TrainState
from tests.oracle.backend import Micro


def first(state: TrainState, a: np.ndarray) -> Micro:
    """The batch is the matrix A (len(x), len(y))."""
    x, y = state.params["x"], state.params["y"]
    return Micro(float(x @ a @ y), {"x": a @ y})


def second(state: TrainState, a: np.ndarray) -> Micro:
    """The batch is the matrix A (len(x), len(y))."""
    x, y = state.params["x"], state.params["y"]
    return Micro(-float(x @ a @ y), {"y": -(a.T @ x)})
