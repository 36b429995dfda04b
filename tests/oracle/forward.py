"""The oracle's models as forward passes alone, over any arrays: a framework finds their gradients by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from tests.oracle import game, models, recurrent
from tests.oracle.backend import Loss

# (array namespace, params, batch, state) -> a dict with 'loss' and, where there are any, 'weight', 'vars', 'hiddens'
Forward = Callable[[Any, Any, Any, Any], dict[str, Any]]


def _shares(xp: Any, batch: models.Batch) -> tuple[Any, Any]:
    if batch.weight is None:
        return xp.ones_like(batch.x.reshape(len(batch.x), -1)[:, 0]) / len(batch.x), 1.0
    total = batch.weight.sum()
    return batch.weight / xp.where(total == 0, 1.0, total), total


def _inner(xp: Any, params: Any, batch: dict[str, Any], state: Any) -> dict[str, Any]:
    loss = sum((p * batch[name]).sum() for name, p in params.items())
    return {"loss": loss, "weight": batch.get("weight", 1.0)}


def _linear(xp: Any, params: Any, batch: models.Batch, state: Any) -> dict[str, Any]:
    share, weight = _shares(xp, batch)
    error = batch.x @ params["w"] + params["b"] - batch.y
    return {"loss": share @ (error**2).sum(1), "weight": weight}


def _averaging(xp: Any, params: Any, batch: models.Batch, state: Any) -> dict[str, Any]:
    mean = 0.9 * state.vars["mean"] + 0.1 * batch.x.mean(0)
    return {**_linear(xp, params, batch, state), "vars": {"mean": mean}}


def _mlp(activation: str) -> Forward:
    def forward(xp: Any, params: Any, batch: models.Batch, state: Any) -> dict[str, Any]:
        share, weight = _shares(xp, batch)
        a = batch.x @ params["w1"] + params["b1"]
        h = xp.tanh(a) if activation == "tanh" else xp.where(a > 0, a, 0.0)
        logits = h @ params["w2"] + params["b2"]
        chosen = xp.stack([logits[i, batch.y[i]] for i in range(len(batch.x))])
        return {"loss": share @ (xp.log(xp.exp(logits).sum(1)) - chosen), "weight": weight}

    return forward


def _elman(xp: Any, params: Any, batch: models.Batch, state: Any) -> dict[str, Any]:
    share, weight = _shares(xp, batch)
    h = xp.zeros_like(batch.x[:, 0, :1] * params["b"]) if state.hidden is None else state.hidden
    losses = []
    for t in range(batch.x.shape[1]):
        h = xp.tanh(batch.x[:, t] @ params["u"] + h @ params["w"] + params["b"])
        losses.append(share @ ((h @ params["v"] + params["c"] - batch.y[:, t]) ** 2).sum(1))
    return {"loss": sum(losses) / len(losses), "weight": weight, "hiddens": h}


def _first(xp: Any, params: Any, batch: Any, state: Any) -> dict[str, Any]:
    return {"loss": params["x"] @ batch @ params["y"]}


def _second(xp: Any, params: Any, batch: Any, state: Any) -> dict[str, Any]:
    return {"loss": -(params["x"] @ batch @ params["y"])}


def _of(activation: Literal["tanh", "relu"]) -> tuple[Loss, Forward]:
    return models.mlp(activation), _mlp(activation)


OF: dict[Loss, Forward] = dict(
    [
        (models.inner, _inner),
        (models.linear, _linear),
        (models.averaging, _averaging),
        _of("tanh"),
        _of("relu"),
        (recurrent.elman, _elman),
        (game.first, _first),
        (game.second, _second),
    ]
)
"""By the oracle's model."""
