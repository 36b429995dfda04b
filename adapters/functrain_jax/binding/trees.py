"""Trees of arrays by name: joined, cut to the form of another, compared. Pure."""

from __future__ import annotations

from typing import Any

import jax

from functrain.kernel.state import Tree
from functrain.trainer.errors import ConfigurationError


def merged(a: Tree, b: Tree) -> Tree:
    """Return one tree of two trees of one part: the leaves of both, b's where both have one."""
    if not isinstance(a, dict) or not isinstance(b, dict):
        return b
    return {**a, **{key: merged(a.get(key), tree) for key, tree in b.items()}}


def like(new: Tree, old: Tree, where: str) -> Tree:
    """Return the part of `new` at the places of `old`.

    Raises:
        ConfigurationError: a place is missing.
    """
    if not isinstance(old, dict) or not isinstance(new, dict):
        return old if new is None else new
    missing = [key for key in old if key not in new]
    if missing:
        raise ConfigurationError(f"self.{where}: the step has removed {missing[0]!r}, which it must keep.")
    return {key: like(new[key], tree, f"{where}.{key}") for key, tree in old.items()}


def without(tree: Tree, places: Tree) -> Tree:
    """Return the tree without its leaves at these places, and without what is empty then."""
    if not isinstance(tree, dict) or not isinstance(places, dict):
        return tree
    left: dict[str, Tree] = {}
    for key, inner in tree.items():
        if key not in places:
            left[key] = inner
        elif isinstance(places[key], dict) and isinstance(inner, dict):
            rest = without(inner, places[key])
            if rest:
                left[key] = rest
    return left


def by_path(*trees: Tree) -> dict[Any, Any]:
    """Return the leaves of these trees by their paths."""
    return {path: leaf for tree in trees for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def identical(a: Tree, b: Tree) -> bool:
    """Return whether two trees have the very same leaves in the same order."""
    left, right = jax.tree.leaves(a), jax.tree.leaves(b)
    return len(left) == len(right) and all(x is y for x, y in zip(left, right, strict=True))
