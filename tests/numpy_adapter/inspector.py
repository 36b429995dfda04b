"""What can be asked of a numpy module, its optimizers and its batches without changing them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from functrain.trainer.metric_objects import Unknown
from tests.numpy_adapter.engine import NumpyEngine


class NumpyInspector:
    """See `functrain.trainer.adapter.Inspector`."""

    def __init__(self, engine: NumpyEngine) -> None:
        self.engine, self.metric_objects = engine, Unknown()

    def rates(self) -> dict[str, float]:
        return {name: optimizer.lr for name, optimizer in self._named("")}

    def optimizers(self) -> list[Any]:
        return [part.optimizer for part in self.engine.parts]

    def schedulers(self) -> list[Any]:
        return []

    def momenta(self) -> dict[str, float]:
        return {name: getattr(optimizer, "momentum", 0.0) for name, optimizer in self._named("-momentum")}

    def _named(self, suffix: str) -> list[tuple[str, Any]]:
        seen: Counter[str] = Counter()
        found: list[tuple[str, Any]] = []
        for part in self.engine.parts:
            kind = type(part.optimizer).__name__
            again = f"-{seen[kind]}" if seen[kind] else ""
            seen[kind] += 1
            found.append((f"lr-{kind}{again}{suffix}", part.optimizer))
        return found

    def batch_size(self, batch: Any) -> int | None:
        if isinstance(batch, dict):
            parts = list(batch.values())
        else:
            parts = batch if isinstance(batch, tuple | list) else [batch]
        return next((len(part) for part in parts if getattr(part, "ndim", 0)), None)

    def scalar(self, value: Any) -> Any:
        return np.asarray(value)

    def idle(self) -> str | None:
        state = self.engine.state
        if state is None or state.moved:
            return None
        return f"{type(self.engine.module).__name__}.training_step gave None for its batches, or they weighed nothing."

    def device(self) -> dict[str, Any]:
        return {"device": "cpu"}

    def device_stats(self) -> dict[str, float]:
        return {}

    def summary(self, max_depth: int) -> list[tuple[str, str, int, int, int]]:
        params = self.engine.module.params
        return [(name, "array", p.size, p.size, p.nbytes) for name, p in params.items()]
