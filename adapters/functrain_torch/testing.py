"""The tools of `functrain.testing` for modules of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from functrain import testing
from functrain_torch.module import LightningModule
from functrain_torch.pure import functional

PLAIN = (bool, int, float, str, type(None))


def _array(tensor: Tensor) -> np.ndarray:
    wide = tensor.detach().cpu()
    return (wide.float() if wide.dtype.is_floating_point and wide.dtype.itemsize < 4 else wide).numpy().copy()


class TorchTools:
    """What the checks ask of torch. A state's `params` are its own copy of the module."""

    def functional(self, module: Any, flags: Mapping[str, Any]) -> Any:
        return functional(module, donate=False, **flags)

    def arrays(self, state: Any) -> dict[str, np.ndarray]:
        named = [*state.params.named_parameters(), *state.params.named_buffers()]
        return {name: _array(tensor) for name, tensor in named}

    def gradients(self, state: Any) -> dict[str, np.ndarray | None]:
        optimizers = state.metrics.engine.parts.configured.optimizers
        moved = {
            id(weight)
            for optimizer, player in zip(optimizers, state.players, strict=True)
            if int(player.acc.count)
            for group in optimizer.param_groups
            for weight in group["params"]
        }
        return {
            name: None if weight.grad is None else _array(weight.grad)
            for name, weight in state.params.named_parameters()
            if weight.requires_grad and (id(weight) in moved or len(optimizers) == 1)
        }

    def attributes(self, module: Any, state: Any) -> dict[str, Any]:
        return {
            f"{path}.{name}" if path else name: value
            for path, part in state.params.named_modules()
            for name, value in vars(part).items()
            if not name.startswith("_") and isinstance(value, PLAIN)
        }


def register() -> None:
    """Have the modules of torch be checked with these tools."""
    testing.register(LightningModule, TorchTools)
