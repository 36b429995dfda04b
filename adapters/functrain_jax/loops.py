"""Loops over items, traced: stacked arrays, or Python lists whose equal neighbours are stacked. Pure.

A carry may change its structure at the first item (an empty hidden state that is filled): such an item runs
by itself, before the loop. Memory does not grow with the number of items, except by what `scan` is asked to
collect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import jaxprs_in_params

LONGEST_STRAIGHT = 32
"""So many items at most go one after another where a loop would be slow: every one of them is compiled by itself."""

Body = Callable[[Any, Any], tuple[Any, Any]]


class Group(NamedTuple):
    """Items of one form: `count` of them stacked in `arrays`; `item(i)` is one of them."""

    count: int
    arrays: Any
    item: Callable[[Any], Any]


def fold(f: Body, carry: Any, items: Any) -> tuple[Any, Any]:
    """f over the items; the last carry, and what f gave beside it at the last item."""
    aside = None
    for group in groups(items):
        if _is_straight(f, carry, group):
            for i in range(group.count):
                carry, aside = f(carry, group.item(i))
            continue
        carry, aside = _fold_group(f, carry, group)
    return carry, aside


def scan(f: Body, carry: Any, items: Any) -> tuple[Any, Any]:
    """f over the items; the last carry, and what f gave beside it at every item, stacked along a new first
    axis."""
    collected: list[Any] = []
    for group in groups(items):
        start, straight = 0, _is_straight(f, carry, group)
        while start < group.count and (
            straight or group.count - start == 1 or not _settled(f, carry, group.item(start))
        ):
            carry, aside = f(carry, group.item(start))
            collected.append(jax.tree.map(lambda x: jnp.asarray(x)[None], aside))
            start += 1
        if start < group.count:

            def body(carry: Any, i: Any, group: Group = group) -> tuple[Any, Any]:
                return f(carry, group.item(i))

            carry, asides = lax.scan(body, arrays(carry), jnp.arange(start, group.count))
            collected.append(asides)
    if len(collected) == 1:
        return carry, collected[0]
    return carry, jax.tree.map(lambda *parts: jnp.concatenate(parts), *collected)


def arrays(tree: Any) -> Any:
    """Return the tree with every Python number as an array."""
    return jax.tree.map(jnp.asarray, tree)


def length(tree: Any) -> int:
    """Return the length of the first axis that all leaves share.

    Raises:
        ValueError: there is no leaf, a leaf has no axis, or the lengths differ.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    sizes = {jax.tree_util.keystr(path) or "batch": jnp.shape(leaf)[:1] for path, leaf in leaves}
    if not sizes:
        raise ValueError("the batch holds no array.")
    if len(set(sizes.values())) > 1 or () in sizes.values():
        shown = ", ".join(f"{name}: {size[0] if size else 'a scalar'}" for name, size in sizes.items())
        raise ValueError(f"the leaves must share the length of their first axis, but have {shown}.")
    return next(iter(sizes.values()))[0]


def groups(items: Any) -> Iterator[Group]:
    """Equal neighbours of a list as groups; a tree of stacked arrays is one group."""
    if not isinstance(items, list):
        yield Group(length(items), items, lambda i, tree=items: jax.tree.map(lambda x: x[i], tree))
        return
    if not items:
        raise ValueError("there is no item to loop over: the list of batches is empty.")
    start = 0
    for end in range(1, len(items) + 1):
        if end == len(items) or _form(items[end]) != _form(items[start]):
            yield _stacked(items[start:end])
            start = end


def _form(item: Any) -> Any:
    leaves, structure = jax.tree.flatten(item)
    return structure, tuple(bool if isinstance(x, bool) else (jnp.shape(x), jnp.result_type(x)) for x in leaves)


def _stacked(items: Sequence[Any]) -> Group:
    if len(items) == 1:
        return Group(1, None, lambda i: items[0])
    columns = [jax.tree.leaves(item) for item in items]
    structure = jax.tree.structure(items[0])
    # A flag that is the same for all stays a Python bool, so that what depends on it is decided while
    # tracing.
    same = [isinstance(column[0], bool) and len(set(column)) == 1 for column in zip(*columns, strict=True)]
    stacks = [
        column[0] if constant else jnp.stack(column)
        for column, constant in zip(zip(*columns, strict=True), same, strict=True)
    ]

    def item(i: Any) -> Any:
        return jax.tree.unflatten(structure, [s if c else s[i] for s, c in zip(stacks, same, strict=True)])

    return Group(len(items), stacks, item)


def slow_in_loops(jaxpr: Any, platform: str) -> bool:
    """Return whether this runs many times slower within `while` and `cond` than outside of them.

    XLA's compiler for the CPU gives the gradients of convolutions their fast form only outside.
    """
    return platform == "cpu" and has_primitive(jaxpr, "conv_general_dilated")


def has_primitive(jaxpr: Any, name: str) -> bool:
    """Return whether there is an operation of this name in the jaxpr, or in one that it calls."""
    inner = getattr(jaxpr, "jaxpr", jaxpr)
    return any(eqn.primitive.name == name for eqn in inner.eqns) or any(
        has_primitive(part, name) for eqn in inner.eqns for part in jaxprs_in_params(eqn.params)
    )


def _is_straight(f: Body, carry: Any, group: Group) -> bool:
    if not 1 < group.count <= LONGEST_STRAIGHT or jax.default_backend() != "cpu":
        return False
    return slow_in_loops(jax.make_jaxpr(lambda carry: f(carry, group.item(0)))(carry), "cpu")


def _form_of_carry(tree: Any) -> Any:
    return jax.tree.structure(tree), [(x.shape, x.dtype) for x in jax.tree.leaves(tree)]


def _settled(f: Body, carry: Any, item: Any) -> bool:
    """Return whether f returns a carry of the same structure, shapes and types."""
    before = jax.eval_shape(arrays, carry)
    after, _ = jax.eval_shape(lambda carry: f(carry, item), carry)
    return _form_of_carry(before) == _form_of_carry(after)


def _fold_group(f: Body, carry: Any, group: Group) -> tuple[Any, Any]:
    start, aside = 0, None
    while start < group.count and (group.count - start == 1 or not _settled(f, carry, group.item(start))):
        carry, aside = f(carry, group.item(start))
        start += 1
    if start == group.count:
        return carry, aside
    shapes = jax.eval_shape(lambda carry: f(carry, group.item(start)), carry)[1]
    empty = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def body(i: Any, both: tuple[Any, Any]) -> tuple[Any, Any]:
        return arrays(f(both[0], group.item(i)))

    return lax.fori_loop(start, group.count, body, (arrays(carry), empty))
