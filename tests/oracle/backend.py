"""The kernel's backend over dictionaries of numpy arrays. Eager, in place, on the host."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from functrain.kernel.host import HostBackend
from functrain.kernel.scale import ScaleRule
from functrain.kernel.state import Accumulator, LossScale, Player, Scalar, TrainState
from functrain.kernel.step import Rules
from tests.oracle.optimizers import Optimizer
from tests.oracle.trees import Arrays


class Micro(NamedTuple):
    """What a model says about one micro-batch: its mean loss, the gradients of that mean, the weight, and the
    other fields of the state that it changes (`hidden`, `vars`, `rng`)."""

    loss: float
    grads: Arrays
    weight: float = 1.0
    carried: Mapping[str, Any] = {}


# None: nothing to learn from this batch.
Loss = Callable[[TrainState, Any], Micro | None]


class Part(NamedTuple):
    """One player: its loss, its optimizer and the names of its own parameters (None: all)."""

    loss: Loss
    optimizer: Optimizer
    names: tuple[str, ...] | None = None


class NumpyBackend(HostBackend):
    """The verbs of `functrain.kernel.backend.Backend`."""

    def __init__(self, *parts: Part) -> None:
        self.parts = parts

    def init(self, params: Arrays, rules: Rules, **fields: Any) -> TrainState:
        """A fresh state that shares no memory with `params`."""
        params = copy.deepcopy(params)
        players = tuple(self._player(p, params, r.scale) for p, r in zip(self.parts, rules, strict=True))
        return TrainState(params, players, **fields)

    def _player(self, part: Part, params: Arrays, rule: ScaleRule | None) -> Player:
        own = {name: params[name] for name in part.names or params}
        zeros = {name: np.zeros_like(p) for name, p in own.items()}
        return Player(part.optimizer.init(own), Accumulator(zeros), rule and LossScale(rule.init))

    def accumulate(self, state: TrainState, batch: Any, player: int, closes: Scalar = False) -> TrainState:
        me = state.players[player]
        with np.errstate(over="ignore", invalid="ignore"):
            micro = self.parts[player].loss(state, batch)
            if micro is None:
                return state
            factor = micro.weight * (1.0 if me.scale is None else me.scale.value)
            for name, total in me.acc.grads.items():
                share = micro.grads[name] * factor
                np.copyto(total, share if me.acc.count == 0 else total + share)
        acc = Accumulator(
            me.acc.grads,
            me.acc.loss + micro.weight * micro.loss,
            me.acc.weight + micro.weight,
            me.acc.count + 1,
        )
        return state._replace(**micro.carried).with_player(player, me._replace(acc=acc))

    def reduce(self, acc: Accumulator) -> Accumulator:
        return acc

    def norm(self, grads: Arrays, p: float) -> float:
        flat = np.concatenate([g.ravel() for g in grads.values()], dtype=np.float64)
        return float(np.linalg.norm(flat, p))

    def apply(
        self, state: TrainState, player: int, grads: Arrays, factor: float, limit: float | None, finite: bool
    ) -> TrainState:
        if not finite:
            return state
        bounded = {name: g * factor for name, g in grads.items()}
        if limit is not None:
            bounded = {name: np.clip(g, -limit, limit) for name, g in bounded.items()}
        me = state.players[player]
        opt = self.parts[player].optimizer.step({name: state.params[name] for name in grads}, bounded, me.opt)
        return state.with_player(player, me._replace(opt=opt))

    def empty(self, acc: Accumulator) -> Accumulator:
        return Accumulator(acc.grads)

    def isfinite(self, x: float) -> bool:
        return math.isfinite(x)

    def select(self, condition: bool, a: Any, b: Any) -> Any:
        return a if condition else b

    def maximum(self, a: float, b: float) -> float:
        return float(np.maximum(a, b))

    def copy(self, state: TrainState) -> TrainState:
        return copy.deepcopy(state)
