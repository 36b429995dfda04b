"""The optimizer of a module that has configured none: it evaluates the loss and moves nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer


class NoOptimizer(Optimizer):
    """Runs a closure where there is one, and moves nothing.

    Args:
        parameters: those whose gradients are cleared.
    """

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        super().__init__(parameters or [nn.Parameter(torch.zeros(()))], {"lr": 0.0})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Return the loss, where a closure gives one."""
        if closure is None:
            return None
        with torch.enable_grad():
            return closure()
