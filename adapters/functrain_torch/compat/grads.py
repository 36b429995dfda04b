"""Norms of gradients, for the hooks that log them."""

from __future__ import annotations

import torch
from torch import nn


def grad_norm(module: nn.Module, norm_type: float | int | str, group_separator: str = "/") -> dict[str, float]:
    """Return the p-norm of the gradient of each parameter that has one, and of all of them together: for
    `self.log_dict(grad_norm(self.layer, 2))` in a hook such as `on_before_optimizer_step`.

    Args:
        norm_type: p; 'inf' for the largest value.

    Raises:
        ValueError: p is not positive.
    """
    p = float(norm_type)
    if p <= 0:
        raise ValueError(f"grad_norm(norm_type={norm_type!r}): must be a p > 0, or 'inf'.")
    found = {name: each.grad.detach().norm(p) for name, each in module.named_parameters() if each.grad is not None}
    norms = {f"grad_{p}_norm{group_separator}{name}": norm.item() for name, norm in found.items()}
    if found:
        norms[f"grad_{p}_norm_total"] = torch.stack(list(found.values())).norm(p).item()
    return norms
