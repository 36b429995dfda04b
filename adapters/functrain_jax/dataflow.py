"""Questions asked of a traced function: what it hands through as it is, what its outputs depend on. Pure."""

from __future__ import annotations

from typing import Any

from jax.extend import core

LIKE_CALLS = ("jit", "pjit", "closed_call", "core_call", "remat2", "checkpoint", "custom_jvp_call", "custom_vjp_call")
"""Primitives whose inner function has their own inputs and outputs, one by one."""


def handed_through(jaxpr: Any) -> list[int | None]:
    """For each output the input that it is, whatever calls and loops it goes through; None where it was computed."""
    origin: dict[Any, int] = {var: i for i, var in enumerate(jaxpr.invars)}
    for eqn in jaxpr.eqns:
        for var, place in zip(eqn.outvars, _of_equation(eqn), strict=True):
            source = None if place is None else eqn.invars[place]
            if source is not None and not isinstance(source, core.Literal) and source in origin:
                origin[var] = origin[source]
    return [None if isinstance(var, core.Literal) else origin.get(var) for var in jaxpr.outvars]


def _of_equation(eqn: Any) -> list[int | None]:
    name, params = eqn.primitive.name, eqn.params
    inner = inner_of(eqn)
    if inner is not None:
        return handed_through(inner)
    if name == "optimization_barrier":
        return list(range(len(eqn.invars)))
    elif name == "scan":
        return _of_scan(params)
    elif name == "cond":
        branches = [handed_through(branch.jaxpr) for branch in params["branches"]]
        agreed = [places[0] if len({*places}) == 1 else None for places in zip(*branches, strict=True)]
        return [None if place is None else place + 1 for place in agreed]
    return [None] * len(eqn.outvars)


def inner_of(eqn: Any) -> Any | None:
    """Return the inner function of an equation that is a call; None of any other."""
    if eqn.primitive.name not in LIKE_CALLS:
        return None
    inner = next((eqn.params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in eqn.params), None)
    inner = getattr(inner, "jaxpr", inner)
    return inner if inner is not None and len(inner.invars) == len(eqn.invars) else None


def _of_scan(params: Any) -> list[int | None]:
    consts, carry = params["num_consts"], params["num_carry"]
    places = handed_through(params["jaxpr"].jaxpr)
    # What is carried stays itself only where it comes out at its own place; a slice of xs only as a slice of ys.
    kept = [place if place == consts + i else None for i, place in enumerate(places[:carry])]
    return kept + [place if place is not None and place >= consts + carry else None for place in places[carry:]]


def depends(jaxpr: Any) -> bool:
    """Return whether any output depends on any input. Calls and loops count as wholes."""
    reached = set(jaxpr.invars)
    for eqn in jaxpr.eqns:
        if any(not isinstance(var, core.Literal) and var in reached for var in eqn.invars):
            reached.update(eqn.outvars)
    return any(not isinstance(var, core.Literal) and var in reached for var in jaxpr.outvars)
