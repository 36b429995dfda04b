"""An Elman network, back-propagated through the time of one piece; the training state carries h."""

from __future__ import annotations

import numpy as np

from functrain.kernel.state import TrainState
from tests.oracle.backend import Micro
from tests.oracle.models import Batch, shares
from tests.oracle.trees import Arrays


def params(rng: np.random.Generator, d_in: int = 2, d_hidden: int = 3, d_out: int = 2) -> Arrays:
    """u (d_in, d_hidden), w (d_hidden, d_hidden), b, v (d_hidden, d_out), c."""
    shapes = {
        "u": (d_in, d_hidden),
        "w": (d_hidden, d_hidden),
        "b": (d_hidden,),
        "v": (d_hidden, d_out),
        "c": (d_out,),
    }
    return {name: 0.5 * rng.normal(size=shape) for name, shape in shapes.items()}


def elman(state: TrainState, batch: Batch) -> Micro:
    """Squared error, mean over time, of h_t @ v + c, with h_t = tanh(x_t @ u + h_(t-1) @ w + b).

    Inputs are (n, time, d_in), targets (n, time, d_out). The hidden state (n, d_hidden) comes as a
    constant, as truncation wants it; None is zeros. The last one goes back into the state.
    """
    p, (n, time, _) = state.params, batch.x.shape
    share, weight = shares(batch)
    h = [np.zeros((n, len(p["b"])), batch.x.dtype) if state.hidden is None else state.hidden]
    for t in range(time):
        h.append(np.tanh(batch.x[:, t] @ p["u"] + h[t] @ p["w"] + p["b"]))
    error = np.stack(h[1:], 1) @ p["v"] + p["c"] - batch.y
    loss = float(share @ (error**2).sum((1, 2))) / time

    grads = {name: np.zeros_like(array) for name, array in p.items()}
    d_h = np.zeros_like(h[0])
    for t in reversed(range(time)):
        d_out = 2 * share[:, None] * error[:, t] / time
        grads["v"] += h[t + 1].T @ d_out
        grads["c"] += d_out.sum(0)
        d_a = (d_out @ p["v"].T + d_h) * (1 - h[t + 1] ** 2)
        grads["u"] += batch.x[:, t].T @ d_a
        grads["w"] += h[t].T @ d_a
        grads["b"] += d_a.sum(0)
        d_h = d_a @ p["w"].T
    return Micro(loss, grads, weight, {"hidden": h[-1]})
