"""Whose parameters require gradients: those of one optimizer among several, while it plays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from functrain_torch.optimizers import parameters_of


class Toggle:
    """Freezes the parameters of all optimizers but one, and lets them be as they were.

    Attributes:
        before: which parameters required gradients before `only`; empty after `undo`.
    """

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        self.optimizers = optimizers
        self.before: list[tuple[Tensor, bool]] = []

    def only(self, optimizer: Any) -> None:
        """Only the parameters of this optimizer, or of what wraps it, require gradients, until `undo`."""
        self.undo()
        own = {id(p) for p in parameters_of(getattr(optimizer, "optimizer", optimizer))}
        others = [p for other in self.optimizers for p in parameters_of(other) if id(p) not in own]
        self.before = [(p, p.requires_grad) for p in others]
        for parameter in others:
            parameter.requires_grad_(False)

    def undo(self) -> None:
        """Every parameter requires gradients as before `only`."""
        for parameter, required in self.before:
            parameter.requires_grad_(required)
        self.before = []
