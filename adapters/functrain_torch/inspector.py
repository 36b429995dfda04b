"""What can be asked of a torch module, its optimizers and its batches without changing them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from functrain_torch.device import described
from functrain_torch.engine import TorchEngine
from functrain_torch.metric_objects import MetricObjects
from functrain_torch.optimizers import learning_rates, momenta
from functrain_torch.summary import rows
from functrain_torch.tree import batch_size


class TorchInspector:
    """See `functrain.trainer.adapter.Inspector`."""

    batch_size = staticmethod(batch_size)

    def __init__(self, engine: TorchEngine) -> None:
        self.engine = engine
        self.metric_objects = MetricObjects(engine.module)

    def rates(self) -> dict[str, float]:
        return learning_rates(self.engine.configured)

    def optimizers(self) -> list[Any]:
        return list(self.engine.configured.optimizers)

    def schedulers(self) -> list[Any]:
        return list(self.engine.configured.schedulers)

    def momenta(self) -> dict[str, float]:
        return momenta(self.engine.configured)

    def scalar(self, value: Any) -> Tensor:
        return value if isinstance(value, Tensor) else torch.as_tensor(value)

    def idle(self) -> str | None:
        engine = self.engine
        if not engine.automatic or engine.state is None or engine.state.moved:
            return None
        name = f"{type(engine.module).__name__}.training_step"
        if engine.parts.backend.output is None:
            return f"{name} gave None for its batches; was `return loss` forgotten?"
        return f"no update's gradients were finite; look at the loss that {name} gives, or at the precision."

    def device(self) -> dict[str, Any]:
        return described(self.engine.strategy.device)

    def device_stats(self) -> dict[str, float]:
        device = self.engine.strategy.device
        return {} if device.type != "cuda" else dict(torch.cuda.memory_stats(device))

    def summary(self, max_depth: int) -> list[tuple[str, str, int, int, int]]:
        return rows(self.engine.module, max_depth)
