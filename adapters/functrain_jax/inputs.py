"""Which floating leaves of a batch are inputs, to be computed with in low precision, and which are labels, ids or
weights, which keep their bits. Read from a trace. Pure.

A leaf is an input where the step lets it into a product with weights (a matrix product or a convolution with values of
parameters alone) through floating arithmetic. What is compared, used as an index, or only meets what the network gave,
is none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from functrain_jax.dataflow import inner_of

PRODUCTS = ("dot_general", "conv_general_dilated", "ragged_dot", "ragged_dot_general")
SHAPING = (
    "broadcast_in_dim", "concatenate", "convert_element_type", "copy", "dynamic_slice", "gather", "split",
    "optimization_barrier", "pad", "reduce_precision", "reshape", "rev", "select_n", "slice", "squeeze", "transpose",
)  # fmt: skip
"""Primitives that give the very values which they are given."""

WEIGHTS, DATA = "weights", "data"
Facts = frozenset[Any]
"""Of a traced value: whether it comes of weights and of data, the leaves that it still holds in full, by number, and
`Worked` of those that it is no copy of, but was computed from."""


class Worked(NamedTuple):
    """A leaf that was computed with."""

    leaf: int


class Inputs(NamedTuple):
    """Positions of leaves of a batch.

    Attributes:
        cast: those that go into products with weights.
        mixed: those of them that reach the function's first output besides.
        worked: those of them that are computed with before that product, or reach another output besides.
    """

    cast: frozenset[int]
    mixed: frozenset[int]
    worked: frozenset[int] = frozenset()

    def lowered(self, batch: Any, dtype: Any) -> Any:
        """Return the batch with the inputs in `dtype`, all else as it is."""
        leaves, structure = jax.tree.flatten(batch)
        cast = [jnp.asarray(leaf, dtype) if i in self.cast else leaf for i, leaf in enumerate(leaves)]
        return jax.tree.unflatten(structure, cast)


def inputs_of(function: Callable[[Any, Any], Any], weights: Any, batch: Any, dtype: Any) -> Inputs:
    """Return the inputs among the leaves of a batch.

    Args:
        function: of weights and a batch; its first output is what labels are for, the others are told apart from it.
        weights: as they are computed with.
        dtype: what inputs are cast to. A leaf of which more is made than one product, and that the function itself
            casts before it, is left to it.
    """
    floating = frozenset(i for i, x in enumerate(jax.tree.leaves(batch)) if _is_floating(x))
    # A step may need the types that it is to get: what fails here with other types is no error of the step.
    try:
        found = _found(function, weights, Inputs(floating, floating).lowered(batch, dtype), floating, 1)
    except (TypeError, ValueError):
        return _found(function, weights, batch, floating, 4)
    seen = found.mixed | found.worked
    if not seen:
        return found
    try:
        uncast = _found(function, weights, batch, floating, 4)
    except (TypeError, ValueError):
        return found
    left = seen - uncast.cast
    return Inputs(found.cast - left, found.mixed - left, found.worked - left)


def _found(function: Callable[[Any, Any], Any], weights: Any, batch: Any, floating: Facts, least: int) -> Inputs:
    jaxpr = jax.make_jaxpr(function)(weights, batch).jaxpr
    leaves = len(jax.tree.leaves(batch))
    facts = [Facts({WEIGHTS})] * (len(jaxpr.invars) - leaves)
    facts += [Facts({DATA, i}) if i in floating else Facts({DATA}) for i in range(leaves)]
    flow = Flow(least, set(), set())
    outputs = flow.through(jaxpr, facts)
    cast, others = frozenset(flow.found), Facts().union(*outputs[1:])
    return Inputs(cast, cast & outputs[0] if outputs else frozenset(), cast & (others | flow.worked))


def _is_floating(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


class Flow(NamedTuple):
    """Follows values through a traced function.

    Attributes:
        least: bytes of a floating type that still holds a leaf in full.
        found: the leaves that were let into a product with weights.
        worked: those of them that were computed with before.
    """

    least: int
    found: set[int]
    worked: set[int]

    def through(self, jaxpr: Any, given: list[Facts]) -> list[Facts]:
        """Return the facts of the outputs, for those of the inputs."""
        known: dict[Any, Facts] = dict(zip(jaxpr.invars, given, strict=True))

        def of(var: Any) -> Facts:
            return Facts() if isinstance(var, core.Literal) else known.get(var, Facts())

        for eqn in jaxpr.eqns:
            after = self._after(eqn, [of(var) for var in eqn.invars])
            known.update(
                (var, facts if self._holds(var.aval) else facts & {WEIGHTS, DATA})
                for var, facts in zip(eqn.outvars, after, strict=True)
            )
        return [of(var) for var in jaxpr.outvars]

    def _holds(self, aval: Any) -> bool:
        return jnp.issubdtype(aval.dtype, jnp.floating) and aval.dtype.itemsize >= self.least

    def _after(self, eqn: Any, given: list[Facts]) -> list[Facts]:
        name, params, inner = eqn.primitive.name, eqn.params, inner_of(eqn)
        joined = Facts().union(*given)
        if name in PRODUCTS and any(WEIGHTS in facts and DATA not in facts for facts in given[:2]):
            self.found.update(fact for fact in joined if isinstance(fact, int))
            self.worked.update(fact.leaf for fact in joined if isinstance(fact, Worked))
            return [joined & {WEIGHTS, DATA}] * len(eqn.outvars)
        if inner is not None:
            return self.through(inner, given)
        if name == "cond":
            branches = [self.through(branch.jaxpr, given[1:]) for branch in params["branches"]]
            return [facts.union(*others) for facts, *others in zip(*branches, strict=True)]
        if name == "scan":
            return self._settled(params["jaxpr"].jaxpr, given, params["num_consts"], params["num_carry"])
        if name == "while":
            given, start = given[params["cond_nconsts"] :], params["body_nconsts"]
            return self._settled(params["body_jaxpr"].jaxpr, given, start, len(given) - start)
        if name not in SHAPING:
            joined |= {Worked(fact) for fact in joined if isinstance(fact, int)}
        return [joined] * len(eqn.outvars)

    def _settled(self, body: Any, given: list[Facts], start: int, carried: int) -> list[Facts]:
        """Return what a loop gives once what it carries has come to rest."""
        while True:
            after = self.through(body, given)
            carry = [a | b for a, b in zip(given[start : start + carried], after[:carried], strict=True)]
            if carry == given[start : start + carried]:
                return after
            given = [*given[:start], *carry, *given[start + carried :]]


def rounded(values: np.ndarray, dtype: Any) -> tuple[float, float] | None:
    """Return the first of these values that is off by a half or more as `dtype`, and what becomes of it; None where
    there is none."""
    with np.errstate(over="ignore"):
        then = values.astype(dtype).astype(values.dtype)
    off = np.abs(then - values) >= 0.5
    if not off.any():
        return None
    place = np.argmax(off)
    return float(values.flat[place]), float(then.flat[place])
