"""The parts of a module and their sizes, for the summary that is printed before training."""

from __future__ import annotations

from torch import nn


def rows(module: nn.Module, max_depth: int) -> list[tuple[str, str, int, int, int]]:
    """Name, type, parameters, trainable ones and bytes of every submodule down to a depth (-1: all)."""
    named = [(name, part) for name, part in module.named_modules() if name]
    shown = [(name, part) for name, part in named if max_depth == -1 or name.count(".") < max_depth]
    table = [(name, type(part).__name__, *_size(list(part.parameters()))) for name, part in shown]
    own = list(module.parameters(recurse=False))
    if own:
        table.append(("(own parameters)", type(module).__name__, *_size(own)))
    return table


def _size(parameters: list[nn.Parameter]) -> tuple[int, int, int]:
    return (
        sum(p.numel() for p in parameters),
        sum(p.numel() for p in parameters if p.requires_grad),
        sum(p.numel() * p.element_size() for p in parameters),
    )
