"""Dicts in the order of their entries. JAX takes a dict's leaves sorted by key, and so returns it; a batch is to
reach the step as the loader gave it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax


class Ordered(dict):
    """A dict whose leaves JAX takes in the order in which they were put in."""


def _with_keys(tree: Ordered) -> tuple[list[tuple[Any, Any]], tuple[Any, ...]]:
    return [(jax.tree_util.DictKey(key), value) for key, value in tree.items()], tuple(tree)


def _flat(tree: Ordered) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    return tuple(tree.values()), tuple(tree)


def _back(keys: tuple[Any, ...], values: Any) -> Ordered:
    return Ordered(zip(keys, values, strict=True))


jax.tree_util.register_pytree_with_keys(Ordered, _with_keys, _back, _flat)


def ordered(tree: Any) -> Any:
    """Return the tree with every plain dict as an `Ordered` one; what holds none stays the very object."""
    return _mapped(tree, dict, Ordered)


def plain(tree: Any) -> Any:
    """Return the tree with every `Ordered` as a plain dict."""
    return _mapped(tree, Ordered, dict)


def batch_size(batch: Any) -> int | None:
    """Return the length of the first axis of the first leaf that has one, as the loader gave the batch; None without
    one."""
    return next((x.shape[0] for x in jax.tree.leaves(ordered(batch)) if getattr(x, "ndim", 0)), None)


def _mapped(tree: Any, kind: type, make: Callable[..., Any]) -> Any:
    if type(tree) in (dict, Ordered):
        items = {key: _mapped(value, kind, make) for key, value in tree.items()}
        return make(items) if type(tree) is kind else type(tree)(items)
    no_container = type(tree) not in (list, tuple) and not (isinstance(tree, tuple) and hasattr(tree, "_fields"))
    if no_container:
        return tree
    parts = [_mapped(part, kind, make) for part in tree]
    if all(new is old for new, old in zip(parts, tree, strict=True)):
        return tree
    return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
