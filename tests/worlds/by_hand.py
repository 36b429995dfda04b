"""Programs as loops written by hand with numpy: losses, positions and weights, gradients by pencil. No framework."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.worlds.observe import Event
from tests.worlds.program import Optimizer, Program, batch_of, weights_of

Weights = dict[str, np.ndarray]


def run_by_hand(program: Program) -> list[Event]:
    """What `on_train_batch_end` sees of the loss and the position, batch by batch; then the weights."""
    weights = {f"{part}.{n}": w.astype(np.float64) for part, ws in weights_of(program).items() for n, w in ws.items()}
    optimizer, updates = Rule(program.optimizers[0], weights), 0
    events: list[Event] = []
    for epoch in range(program.flags["max_epochs"]):
        batches = list(_batches(program))
        window: list[tuple[Weights, float]] = []
        for index, (x, y) in enumerate(batches):
            loss, gradient = loss_and_gradient(program, weights, x, y)
            window.append((gradient, float(len(x)) if program.returns == "weighted" else 1.0))
            if len(window) == _window(program, epoch) or index + 1 == len(batches):
                optimizer.step(_clipped(program, _mean(window)))
                updates, window = updates + 1, []
            events.append(Event(f"batch {index}", {"epoch": epoch, "step": updates, "loss": loss}))
            if updates == program.flags.get("max_steps"):
                return [*events, Event("weights", weights)]
    return [*events, Event("weights", weights)]


def _batches(program: Program) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    limit = program.flags.get("limit_train_batches", len(program.train.sizes))
    n = len(program.train.sizes)
    for index in range(int(n * limit) if isinstance(limit, float) else min(n, limit)):
        batch: Any = batch_of(program, program.train, 0, 0, index)
        x, y = batch if isinstance(batch, tuple) else (batch["x"], batch["y"])
        yield x.astype(np.float64), y.astype(np.float64)


def loss_and_gradient(program: Program, w: Weights, x: np.ndarray, y: np.ndarray) -> tuple[float, Weights]:
    """The mean squared error, and what it changes by with each weight."""
    hidden = x @ w["first.w"] + w["first.b"]
    if program.model == "linear":
        error = hidden[:, 0] - y
        out = (2 * error / len(y))[:, None]
        return float((error**2).mean()), {"first.w": x.T @ out, "first.b": out.sum(0)}
    active = np.tanh(hidden)
    error = (active @ w["second.w"] + w["second.b"])[:, 0] - y
    out = (2 * error / len(y))[:, None]
    back = (out @ w["second.w"].T) * (1 - active**2)
    gradient = {"first.w": x.T @ back, "first.b": back.sum(0), "second.w": active.T @ out, "second.b": out.sum(0)}
    return float((error**2).mean()), gradient


def _window(program: Program, epoch: int) -> int:
    size = program.flags.get("accumulate_grad_batches", 1)
    return size if isinstance(size, int) else size[max(start for start in size if start <= epoch)]


def _mean(window: list[tuple[Weights, float]]) -> Weights:
    total = sum(weight for _, weight in window)
    return {name: np.asarray(sum(g[name] * weight for g, weight in window)) / total for name in window[0][0]}


def _clipped(program: Program, gradient: Weights) -> Weights:
    bound = program.flags.get("gradient_clip_val")
    if bound is None:
        return gradient
    if program.flags.get("gradient_clip_algorithm") == "value":
        return {name: np.clip(g, -bound, bound) for name, g in gradient.items()}
    norm = np.sqrt(sum((g**2).sum() for g in gradient.values()))
    # The small number is clip_grad_norm_'s.
    return {name: g * min(1.0, bound / (norm + 1e-6)) for name, g in gradient.items()}


class Rule:
    """An optimizer by its formula; changes the weights in place."""

    def __init__(self, given: Optimizer, weights: Weights) -> None:
        self.given, self.weights = given, weights
        self.first = {name: np.zeros_like(w) for name, w in weights.items()}
        self.second = {name: np.zeros_like(w) for name, w in weights.items()}
        self.updates = 0

    def step(self, gradient: Weights) -> None:
        given = self.given
        rate = given.rate * (1.0 if given.decay is None else given.decay ** (self.updates // given.every))
        self.updates += 1
        for name, g in gradient.items():
            if given.kind == "adam":
                self.first[name] = 0.9 * self.first[name] + 0.1 * g
                self.second[name] = 0.999 * self.second[name] + 0.001 * g**2
                mean = self.first[name] / (1 - 0.9**self.updates)
                size = np.sqrt(self.second[name] / (1 - 0.999**self.updates))
                move = mean / (size + 1e-8)
            else:
                self.first[name] = g + (0.5 if given.kind == "momentum" else 0.0) * self.first[name]
                move = self.first[name]
            self.weights[name] = self.weights[name] - rate * move
