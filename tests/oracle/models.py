"""Feed-forward models with their gradients by hand: a form, linear regression, a two-layer perceptron."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np

from functrain.kernel.state import TrainState
from tests.oracle.backend import Loss, Micro
from tests.oracle.trees import Arrays


class Batch(NamedTuple):
    """Inputs (n, ...), targets (n, ...) and, where samples differ in weight, the weights (n,)."""

    x: Any
    y: Any
    weight: Any = None

    def part(self, start: int, stop: int) -> Batch:
        """The samples from start to stop."""
        return Batch(*(None if field is None else field[start:stop] for field in self))


def shares(batch: Batch) -> tuple[np.ndarray, float]:
    """Each sample's share of the batch's mean loss (n,), and the batch's weight, 1 by default."""
    if batch.weight is None:
        return np.full(len(batch.x), 1.0 / len(batch.x), batch.x.dtype), 1.0
    total = float(batch.weight.sum())
    return batch.weight / (total or 1.0), total


def inner(state: TrainState, batch: dict[str, Any]) -> Micro:
    """sum(params * batch): the gradient is the batch itself, which may have a number `weight` too."""
    grads = {name: batch[name] for name in state.params}
    loss = sum(float(np.sum(state.params[name] * g)) for name, g in grads.items())
    return Micro(loss, grads, batch.get("weight", 1.0))


def linear(state: TrainState, batch: Batch) -> Micro:
    """Squared error of x @ w + b."""
    share, weight = shares(batch)
    loss, grads = _squared_error(state.params, batch.x, batch.y, share)
    return Micro(loss, grads, weight)


def averaging(state: TrainState, batch: Batch) -> Micro:
    """Linear regression that moves a running mean of the inputs in `vars`."""
    mean = 0.9 * state.vars["mean"] + 0.1 * batch.x.mean(0)
    return linear(state, batch)._replace(carried={"vars": {"mean": mean}})


def restless(state: TrainState, batch: Batch) -> Micro:
    """Linear regression on noisy inputs; moves a seed in `rng` and a running mean of the inputs in `vars`."""
    noise = np.random.default_rng(state.rng).normal(size=batch.x.shape)
    share, weight = shares(batch)
    loss, grads = _squared_error(state.params, batch.x + 0.1 * noise, batch.y, share)
    mean = 0.9 * state.vars["mean"] + 0.1 * batch.x.mean(0)
    return Micro(loss, grads, weight, {"rng": state.rng + 1, "vars": {"mean": mean}})


def _squared_error(params: Arrays, x: np.ndarray, y: np.ndarray, share: np.ndarray) -> tuple[float, Arrays]:
    error = x @ params["w"] + params["b"] - y
    d_out = 2 * share[:, None] * error
    return float(share @ (error**2).sum(1)), {"w": x.T @ d_out, "b": d_out.sum(0)}


def _tanh(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    h = np.tanh(a)
    return h, 1 - h * h


def _relu(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.maximum(a, 0), (a > 0).astype(a.dtype)


ACTIVATIONS: dict[str, Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]] = {"tanh": _tanh, "relu": _relu}


def mlp(activation: Literal["tanh", "relu"] = "tanh") -> Loss:
    """Softmax cross entropy of act(x @ w1 + b1) @ w2 + b2 with integer targets (n,)."""
    return _mlp(activation)


@cache
def _mlp(activation: str) -> Loss:
    act = ACTIVATIONS[activation]

    def loss(state: TrainState, batch: Batch) -> Micro:
        p, x, rows = state.params, batch.x, np.arange(len(batch.x))
        share, weight = shares(batch)
        h, slope = act(x @ p["w1"] + p["b1"])
        logits = h @ p["w2"] + p["b2"]
        logits = logits - logits.max(1, keepdims=True)
        log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        d_logits = np.exp(log_p)
        d_logits[rows, batch.y] -= 1
        d_logits *= share[:, None]
        d_a = (d_logits @ p["w2"].T) * slope
        grads = {"w1": x.T @ d_a, "b1": d_a.sum(0), "w2": h.T @ d_logits, "b2": d_logits.sum(0)}
        return Micro(-float(share @ log_p[rows, batch.y]), grads, weight)

    return loss
