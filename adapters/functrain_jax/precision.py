"""Precision policies: which type the forward pass computes in, and which loss scale goes with it. Pure."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from functrain.kernel.scale import ScaleRule
from functrain.kernel.state import Tree
from functrain.trainer.precisions import canonical
from functrain_jax.inputs import Inputs, inputs_of, rounded


class Policy(NamedTuple):
    """What is computed in which type.

    Attributes:
        name: the flag's canonical name.
        compute: the type that parameters, and those floating leaves of a batch that are inputs, are cast to in
            the forward pass; None casts nothing.
        store: the type of the sums and of the loss.
        scale: the loss scale that this precision asks for; None for none.
    """

    name: str
    compute: Any = None
    store: Any = jnp.float32
    scale: ScaleRule | None = None

    def cast(self, tree: Tree) -> Tree:
        """Return the tree with every floating leaf in the compute type."""
        return tree if self.compute is None else cast_floating(tree, self.compute)

    @property
    def low(self) -> bool:
        """Does it compute in fewer bits than a label may need?"""
        return self.compute is not None and jnp.dtype(self.compute).itemsize < 4

    def inputs(self, function: Callable[[Tree, Tree], Any], weights: Tree, batch: Tree) -> Inputs:
        """Return which leaves of the batch a function of weights, cast already, and a batch computes with."""
        return inputs_of(function, weights, batch, self.compute)

    def cast_batch(self, function: Callable[[Tree, Tree], Any], weights: Tree, batch: Tree, worked: set[int]) -> Tree:
        """Return the batch as the function is to get it: inputs in the compute type, all else with all its bits.

        Args:
            worked: is added those leaves whose rounding is seen elsewhere than in a product with weights.
        """
        if not self.low:
            return self.cast(batch)
        inputs = self.inputs(function, weights, batch)
        worked |= inputs.worked
        return inputs.lowered(batch, self.compute)

    def warn_of_rounded(self, batches: Tree, worked: Collection[int], step: str, warned: set[str]) -> None:
        """Say once of every leaf that loses numbers such as ids or years before a step computes with them.

        Args:
            batches: of arrays.
            worked: which leaves are looked at.
            warned: of which it was said already.
        """
        for i, (path, leaf) in enumerate(jax.tree_util.tree_leaves_with_path(batches)):
            name = f"batch{jax.tree_util.keystr(path)}"
            lost = rounded(leaf, self.compute) if i in worked and name not in warned else None
            if lost is None:
                continue
            warned.add(name)
            dtype = jnp.dtype(self.compute).name
            warnings.warn(
                f"precision={self.name!r}: {name} goes into a product with weights, so it is cast to {dtype} before "
                f"{step} computes with it: {lost[0]:.9g} in it becomes {lost[1]:.9g}, also where it is preprocessed or "
                f"logged. Cast what goes into the network yourself, x.astype(jnp.{dtype}), and the batch stays as it "
                "is; or scale it in the loader.",
                UserWarning,
                stacklevel=2,
            )


# Half precision ends at 65504, so the scale starts below it: a loss that is computed in float16 is scaled in
# float16.
HALF_SCALE = ScaleRule(init=2.0**15)

SINGLE = Policy("32")
_POLICIES = {
    "32": SINGLE,
    "64": Policy("64", jnp.float64, jnp.float64),
    "bf16": Policy("bf16", jnp.bfloat16),
    "16": Policy("16", jnp.float16, scale=HALF_SCALE),
}


def policy_of(precision: Any) -> Policy:
    """Return the policy of a precision flag: 32, 64, 16, 'bf16', with or without '-mixed' or '-true'.

    Raises:
        ValueError: an unknown precision, one of torch's alone, or 64 bits where JAX is not told to keep them.
    """
    name = canonical(precision)
    if name == "64" and not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
        raise ValueError(
            "precision=64: JAX computes in 32 bits unless told otherwise; call "
            "jax.config.update('jax_enable_x64', True), or set JAX_ENABLE_X64=1, before any array is made."
        )
    if name not in _POLICIES:
        raise ValueError(
            f"precision={name!r}: under JAX a module makes its parameters itself; make them in this type, with "
            "precision=32, or use 'bf16-mixed' or '16-mixed'."
        )
    return _POLICIES[name]


def is_floating(leaf: Any) -> bool:
    """Return whether this leaf is an array (or number) of a floating type."""
    return jnp.issubdtype(leaf.dtype if isinstance(leaf, jax.Array) else jnp.result_type(leaf), jnp.floating)


def cast_floating(tree: Tree, dtype: Any) -> Tree:
    """Return the tree with every floating leaf as an array of `dtype`; the others as they are."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype) if is_floating(leaf) else leaf, tree)


def keep_types(new: Tree, old: Tree) -> Tree:
    """`new` with the leaves' types of `old`: what a loop carries must not change its type on the way."""

    def one(a: Any, b: Any) -> Any:
        dtype = jnp.result_type(b)
        return a if jnp.result_type(a) == dtype else jnp.asarray(a).astype(dtype)

    return jax.tree.map(one, new, old)
