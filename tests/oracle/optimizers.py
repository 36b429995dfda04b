"""SGD with momentum and AdamW, written out from their papers. They move the parameters in place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tests.oracle.trees import Arrays


class Optimizer(Protocol):
    def init(self, params: Arrays) -> Any: ...

    def step(self, params: Arrays, grads: Arrays, opt: Any) -> Any: ...


def _zeros(params: Arrays) -> Arrays:
    return {name: np.zeros_like(p) for name, p in params.items()}


@dataclass(frozen=True)
class SGD:
    """Polyak, Some methods of speeding up the convergence of iteration methods, 1964, in torch's form."""

    lr: float
    momentum: float = 0.0

    def init(self, params: Arrays) -> Arrays:
        return _zeros(params)

    def step(self, params: Arrays, grads: Arrays, opt: Arrays) -> Arrays:
        for name, p in params.items():
            velocity = opt[name]
            velocity *= self.momentum
            velocity += grads[name]
            p -= self.lr * velocity
        return opt


@dataclass(frozen=True)
class AdamW:
    """Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019, algorithm 2."""

    lr: float
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.01

    def init(self, params: Arrays) -> dict[str, Any]:
        return {"count": 0, "m": _zeros(params), "v": _zeros(params)}

    def step(self, params: Arrays, grads: Arrays, opt: dict[str, Any]) -> dict[str, Any]:
        count = opt["count"] + 1
        for name, p in params.items():
            g, m, v = grads[name], opt["m"][name], opt["v"][name]
            m += (1 - self.b1) * (g - m)
            v += (1 - self.b2) * (g * g - v)
            m_hat = m / (1 - self.b1**count)
            v_hat = v / (1 - self.b2**count)
            p *= 1 - self.lr * self.weight_decay
            p -= self.lr * m_hat / (np.sqrt(v_hat) + self.eps)
        return {**opt, "count": count}
