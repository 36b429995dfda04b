"""The parts of a module and their sizes, for the summary that is printed before training. Reads shapes
only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax

from functrain_jax.module import Module

Row = tuple[str, str, int, int, int]


def rows(module: Module, params: dict[str, Any], moved: set[str] | None, max_depth: int) -> list[Row]:
    """Name, type, parameters, trainable ones and bytes of every part with parameters, down to a depth (-1:
    all).

    Args:
        params: the parameters by attribute.
        moved: the attributes that an optimizer moves; None for all.
    """
    table: list[Row] = []
    for attribute, tree in params.items():
        trains = moved is None or attribute in moved
        table.extend(_parts(attribute, getattr(module, attribute, None), tree, trains, max_depth, 1))
    return table


def _parts(name: str, part: Any, tree: Any, trains: bool, max_depth: int, depth: int) -> Iterator[Row]:
    count = sum(leaf.size for leaf in jax.tree.leaves(tree))
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
    yield name, type(part).__name__, count, count * trains, size
    if not isinstance(tree, dict) or depth == max_depth:
        return
    for key, inner in tree.items():
        if isinstance(inner, dict):
            yield from _parts(f"{name}.{key}", _child(part, key), inner, trains, max_depth, depth + 1)


def _child(part: Any, key: Any) -> Any:
    try:
        return getattr(part, key) if isinstance(key, str) and hasattr(part, key) else part[key]
    except (TypeError, KeyError, IndexError, AttributeError):
        return None
