"""`make_step`: the training step as a function, from a loss function and an optax optimizer; no Trainer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import optax

from functrain import kernel
from functrain.kernel import Clip, Rule, ScaleRule, TrainState
from functrain.trainer.functional import LossStep, StepReport, check_loss_step
from functrain.trainer.step_outputs import apart, parts_of
from functrain_jax.backend import JaxBackend
from functrain_jax.keys import key_of
from functrain_jax.loops import length
from functrain_jax.precision import policy_of

EXTRAS = ("rng", "vars", "hiddens")


def make_step(
    loss_fn: Callable[..., Any],
    optimizer: optax.GradientTransformation,
    *,
    accumulate: int = 1,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    precision: Any = "32",
    loss_scale: ScaleRule | float | None = None,
    tbptt: int | None = None,
    donate: bool = True,
    skip_nonfinite: bool = False,
) -> LossStep:
    """Return the training step of a loss function and an optimizer.

    Args:
        loss_fn: `loss_fn(params, batch, **extras)`. Of the extras it is given those that its signature names:
            `rng` (a fresh key for every micro-batch), `vars` (what the forward pass changes by itself) and
            `hiddens` (with `tbptt`: what the piece before returned; None for the first). It returns a scalar
            loss, or a dict with 'loss' and, where it has them, 'weight' (how many samples or tokens the loss
            is a mean of; default 1), 'vars' and 'hiddens'. What else stands in the dict, or in the second of `(loss,
            aux)`, is in the report as `logged`, of the last micro-batch.
        optimizer: an optax transformation.
        accumulate: micro-batches an update. A batch is cut into so many along its first axis, every
            `accumulate`-th sample into one, so that a batch spread over devices stays where it is; a *list* is
            a window of micro-batches as it is, which may differ in length. With `tbptt`: pieces an update.
        clip_norm, clip_value: bounds on the norm of the mean gradient, and on each of its components.
        precision: '32', '64', 'bf16' or '16': what the forward pass computes in. Parameters keep their type, and
            of a batch only what goes into products with weights is cast: labels and ids keep their bits.
        loss_scale: how the loss scale moves, or a constant; default: none, and for '16' a `ScaleRule`. With a
            loss scale an update whose gradient is not finite is skipped.
        tbptt: cut every batch along axis 1 into pieces of so many steps (the last may be shorter), with
            `hiddens` handed from piece to piece; every piece is a micro-batch, and the report's fields have
            the updates as their first axis.
        donate: a call may reuse the old state's memory, so the old state is dead afterwards. False keeps it.
        skip_nonfinite: skip an update whose gradient is not finite, without a loss scale too.

    Returns:
        The triple (init, step, epoch). `init(params, *, rng=None, vars=None)` copies its trees of arrays; `rng` is a
        key of `jax.random.key`, or an int. It is traceable, so an ensemble is `jax.vmap(init)` over keys. `step` is
        compiled with `jax.jit`, and as traceable as any such function: inside another `jit`, `vmap`, `lax.scan` or
        `grad`; `step.__wrapped__` is the plain function. It returns a `StepReport`. `epoch` is a scan of `step` over
        batches stacked along a new first axis, or over a list of windows; the report's fields have the steps as their
        first axis.

    Raises:
        ValueError: an option that cannot be, or, while tracing, a batch or a loss that does not fit.
    """
    check_loss_step(loss_fn, optimizer, "update", accumulate=accumulate, tbptt=tbptt)
    policy = policy_of(precision)
    scale = policy.scale if loss_scale is None else loss_scale
    rule = Rule(Clip(clip_norm, clip_value), scale if isinstance(scale, ScaleRule) else None, skip_nonfinite)
    takes = _extras(loss_fn)
    short = JaxBackend(
        _loss(loss_fn, takes, carry_hidden=tbptt is not None), (optimizer,), policy=policy, open_windows=False
    )
    long = replace(short, open_windows=True)

    def init(params: Any, *, rng: Any = None, vars: Any = None) -> TrainState:
        return short.init(params, key_of(rng), vars, (scale,))

    def step(state: TrainState, batch: Any) -> tuple[TrainState, StepReport]:
        if "rng" in takes and state.rng is None:
            raise ValueError(
                f"{_name(loss_fn)} takes 'rng', but the state has no key: use init(params, rng=jax.random.key(0))."
            )
        window = window_of(batch, accumulate) if tbptt is None else None
        several = accumulate > 1 if window is None else not (isinstance(window, list) and len(window) == 1)
        # Between windows a state has no gradient sums; a window of several makes room for them, and gives it
        # back.
        backend = long if several else short
        state = backend.opened(state) if several else state
        if tbptt is None:
            state, reports = kernel.step(backend, (rule,), state, window)
        else:
            state, reports = kernel.tbptt(backend, (rule,), state, cut_time(batch, tbptt), accumulate)
        logged: Any = state.metrics or {}
        # The state's leaves are arrays of fixed types, so that a scan can carry it.
        state = jax.tree.map(jnp.asarray, backend.closed(state._replace(metrics=None)))
        return state, jax.tree.map(jnp.asarray, StepReport(reports, logged))

    def epoch(state: TrainState, batches: Any) -> tuple[TrainState, StepReport]:
        return short.scan(step, state, batches)

    old = (0,) if donate else ()
    return LossStep(init, jax.jit(step, donate_argnums=old), jax.jit(epoch, donate_argnums=old))


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _extras(loss_fn: Callable[..., Any]) -> frozenset[str]:
    """Return which extras the loss function asks for by name. Raises TypeError for an argument that nobody gives."""
    parameters = list(inspect.signature(loss_fn).parameters.values())
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    takes = frozenset(p.name for p in named if p.name in EXTRAS)
    unknown = [p.name for p in parameters[2:] if p in named and p.name not in EXTRAS and p.default is p.empty]
    if len(parameters) < 2 or unknown:
        raise TypeError(
            f"{_name(loss_fn)}{inspect.signature(loss_fn)}: a loss function takes (params, batch) and, by name, "
            f"any of {', '.join(EXTRAS)}{'; not ' + ', '.join(unknown) if unknown else ''}."
        )
    return takes


def _loss(loss_fn: Callable[..., Any], takes: frozenset[str], carry_hidden: bool) -> Any:
    def loss(params: Any, state: TrainState, rng: Any, batch: Any, player: int) -> tuple[Any, Any, TrainState]:
        extras = {"rng": rng, "vars": state.vars, "hiddens": state.hidden}
        given = loss_fn(params, batch, **{name: extras[name] for name in takes})
        given, aux = apart(given, carry_hidden, _name(loss_fn))
        parts = parts_of(given, _name(loss_fn))
        if aux:
            state = state._replace(metrics=jax.lax.stop_gradient(jax.tree.map(jnp.asarray, aux)))
        if not isinstance(given, Mapping):
            return parts.loss, parts.weight, state
        if carry_hidden:
            state = state._replace(hidden=parts.hiddens)
        return parts.loss, parts.weight, state._replace(vars=parts.vars)

    loss.__qualname__ = _name(loss_fn)
    return loss


def window_of(batch: Any, size: int) -> Any:
    """Return a list as it is; a batch cut along its first axis into `size` micro-batches of equal length.

    Micro-batch i holds the samples i, i + size, i + 2 * size and so on: where the batch is spread over devices, each
    cuts the part that it has, and nothing is gathered.

    Raises:
        ValueError: its length is not a multiple of `size`.
    """
    if isinstance(batch, list):
        return batch
    if size == 1:
        return [batch]
    n = length(batch)
    if n % size:
        raise ValueError(
            f"a batch of {n} cannot be cut into {size} micro-batches of equal length (accumulate={size}): "
            f"make its length a multiple of {size}, or give a list of micro-batches."
        )

    def cut(x: Any) -> Any:
        return jnp.swapaxes(jnp.reshape(x, (n // size, size, *jnp.shape(x)[1:])), 0, 1)

    return jax.tree.map(cut, batch)


def cut_time(batch: Any, size: int) -> list[Any]:
    """Return a batch cut along axis 1 into pieces of `size` steps; the last holds what is left. Leaves of fewer than
    two axes go with every piece.

    Raises:
        ValueError: no leaf has a time axis, or their lengths differ.
    """
    steps = {jnp.shape(x)[1] for x in jax.tree.leaves(batch) if jnp.ndim(x) > 1}
    if len(steps) != 1:
        found = f"several lengths of axis 1, {sorted(steps)}" if steps else "no second axis"
        raise ValueError(f"the batch cannot be cut along time: its leaves (batch, time, ...) have {found}.")
    n = steps.pop()
    return [jax.tree.map(lambda x, a=a: x[:, a : a + size] if jnp.ndim(x) > 1 else x, batch) for a in range(0, n, size)]
