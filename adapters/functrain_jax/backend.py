"""The kernel's verbs over JAX arrays: pure, traceable functions of the state. Touches nothing outside its
arguments."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from functrain.kernel.scale import ScaleRule
from functrain.kernel.state import Accumulator, Clock, LossScale, Player, Report, Scalar, TrainState, Tree
from functrain.trainer.errors import ConfigurationError
from functrain_jax.dataflow import depends
from functrain_jax.keys import is_key
from functrain_jax.loops import arrays, fold, length, scan
from functrain_jax.precision import SINGLE, Policy, is_floating, keep_types


class Loss(Protocol):
    """What a backend differentiates."""

    def __call__(
        self, params: Tree, state: TrainState, rng: Any, batch: Any, player: int
    ) -> tuple[Scalar, Scalar, TrainState]:
        """(loss, weight, state): a scalar loss that is a mean over `weight`, and the state with the `vars`,
        `hidden` and `metrics` that the forward pass left. `params` are the whole parameters, in the compute
        type; `rng` is a fresh key."""
        ...


SMALLEST_SQUARE = 1e-20
"""Sums of squares below it may have lost what was too small for a float."""


@dataclass(frozen=True)
class JaxBackend:
    """The verbs of `functrain.kernel.Backend` for one loss and its optimizers.

    Attributes:
        loss: see `Loss`; None where nothing is accumulated.
        optimizers: one a player.
        owned: for each player the top-level keys of `params` that it moves; None moves everything.
        policy: the precision.
        open_windows: windows stay open between calls, so the state carries the gradient sums; where every
            window is one micro-batch it carries none.
        branches: leave what is rarely needed to a branch; else compute it always and select. A branch over the
            gradients costs a tenth of a step where convolutions run outside of loops on the CPU.
    """

    loss: Loss | None
    optimizers: tuple[optax.GradientTransformation, ...]
    owned: tuple[tuple[Hashable, ...] | None, ...] = (None,)
    policy: Policy = SINGLE
    open_windows: bool = True
    branches: bool = True
    checked: set[int] = field(default_factory=set, compare=False, repr=False)
    """Players whose loss was seen to depend on what they move."""
    warned: set[str] = field(default_factory=set, compare=False, repr=False)
    """Leaves of a batch of which it was said that they are cast whole."""

    # the state

    def init(
        self,
        params: Tree,
        rng: Any = None,
        vars: Tree = None,
        scales: tuple[ScaleRule | float | None, ...] = (None,),
    ) -> TrainState:
        """Return the state at the start. Its leaves are copies of what is given and share no memory with one
        another."""
        check_trainable(params)
        if self.policy.name == "64":
            params = self.policy.cast(params)
        params = jax.tree.map(jnp.copy, arrays(params))
        players = tuple(
            Player(
                tx.init(self.split(params, i)[0]),
                self._accumulator(params, i),
                self._scale(scale),
                jnp.int32(0),
            )
            for i, (tx, scale) in enumerate(zip(self.optimizers, scales, strict=True))
        )
        clock = Clock(*(jnp.int32(0) for _ in Clock._fields))
        return self.copy(TrainState(params, players, arrays(vars), None, rng, None, clock))

    def _accumulator(self, params: Tree, player: int) -> Accumulator:
        grads = self.zeros(params, player) if self.open_windows else None
        zero = jnp.zeros((), self.policy.store)
        return Accumulator(grads, zero, zero, jnp.int32(0))

    def _scale(self, scale: ScaleRule | float | None) -> LossScale | None:
        if scale is None:
            return None
        value = scale.init if isinstance(scale, ScaleRule) else scale
        return LossScale(jnp.asarray(value, jnp.float32), jnp.int32(0))

    def zeros(self, params: Tree, player: int) -> Tree:
        """Return an empty gradient sum. Sums of low-precision parameters are kept in the policy's store type."""
        mine, _ = self.split(params, player)
        return jax.tree.map(lambda p: jnp.zeros(p.shape, jnp.promote_types(p.dtype, self.policy.store)), mine)

    def split(self, params: Tree, player: int) -> tuple[Tree, Tree]:
        """Return what this player moves, and the rest."""
        names = self.owned[player]
        if names is None:
            return params, None
        mine = {name: params[name] for name in names}
        return mine, {name: value for name, value in params.items() if name not in mine}

    def join(self, mine: Tree, rest: Tree) -> Tree:
        """Return the inverse of `split`."""
        return mine if rest is None else {**rest, **mine}

    def opened(self, state: TrainState) -> TrainState:
        """Return the state with room for gradient sums in every player."""
        for i, me in enumerate(state.players):
            if me.acc.grads is None:
                state = state.with_player(i, me._replace(acc=me.acc._replace(grads=self.zeros(state.params, i))))
        return state

    def closed(self, state: TrainState) -> TrainState:
        """Return the state without the gradient sums; every window must be empty."""
        for i, me in enumerate(state.players):
            state = state.with_player(i, me._replace(acc=me.acc._replace(grads=None)))
        return state

    # the verbs; their laws are in functrain.kernel.backend

    def accumulate(self, state: TrainState, batch: Any, player: int, closes: Scalar = False) -> TrainState:
        """Forward and backward of one micro-batch for one player."""
        me = state.players[player]
        mine, rest = self.split(state.params, player)
        key = None
        if state.rng is not None:
            rng, key = jax.random.split(state.rng)
            state = state._replace(rng=rng)

        lowered = self._lowered(batch, state, key, player)

        def objective(mine: Tree) -> tuple[Scalar, Any]:
            params = self.policy.cast(self.join(mine, rest))
            assert self.loss is not None, "this backend was made to update only"
            loss, weight, after = self.loss(params, state, key, lowered, player)
            weight = lax.stop_gradient(jnp.asarray(weight, self.policy.store))
            weighted = check_scalar(loss).astype(self.policy.store) * weight
            scaled = weighted if me.scale is None else weighted * me.scale.value.astype(self.policy.store)
            return scaled, (weighted, weight, after.vars, after.hidden, after.metrics)

        scaled, pull, (loss, weight, vars, hidden, metrics) = jax.vjp(objective, mine, has_aux=True)
        self._check_depends(pull, scaled, player)
        (grads,) = pull(jnp.ones_like(scaled))
        acc = Accumulator(self._added(me.acc, grads), me.acc.loss + loss, me.acc.weight + weight, me.acc.count + 1)
        state = state._replace(vars=keep_form(vars, state.vars), hidden=hidden, metrics=metrics)
        return state.with_player(player, me._replace(acc=acc))

    def _lowered(self, batch: Any, state: TrainState, key: Any, player: int) -> Any:
        """Return the batch as the forward pass gets it: its inputs in the policy's type, all else as it is."""
        if not self.policy.low:
            return self.policy.cast(batch)

        def forward(weights: Any, batch: Any) -> Any:
            assert self.loss is not None, "this backend was made to update only"
            return self.loss(weights[0], state._replace(vars=weights[1]), key, batch, player)[0]

        inputs = self.policy.inputs(forward, (self.policy.cast(state.params), state.vars), batch)
        for i, (path, _) in enumerate(jax.tree_util.tree_leaves_with_path(batch)):
            name = f"batch{jax.tree_util.keystr(path)}"
            if i in inputs.mixed and name not in self.warned:
                self.warned.add(name)
                warnings.warn(warning_of_mixed(name, self.policy), UserWarning, stacklevel=2)
        return inputs.lowered(batch, self.policy.compute)

    def _check_depends(self, pull: Any, loss: jax.Array, player: int) -> None:
        """Raises ConfigurationError where no gradient reaches a parameter, whatever the values: found by what the
        traced backward pass reads, once for each player."""
        if player in self.checked:
            return
        if not depends(jax.make_jaxpr(pull)(jnp.ones_like(loss)).jaxpr):
            names = self.owned[player]
            which = "the parameters" if names is None else " and ".join(f"self.{name}" for name in names)
            raise ConfigurationError(
                f"{getattr(self.loss, '__qualname__', 'the loss function')}: the loss does not depend on {which}, so "
                "nothing would be trained. Compute it from them within the step, not through stop_gradient or "
                "integers alone."
            )
        self.checked.add(player)

    def _added(self, acc: Accumulator, grads: Tree) -> Tree:
        if acc.grads is None:
            return grads
        fresh = jnp.equal(acc.count, 0)

        def add(total: jax.Array, grad: jax.Array) -> jax.Array:
            # Added to minus zero a number stays as it is. The gradient is read once, so one kernel makes and adds it.
            return jnp.where(fresh, -0.0, total) + grad.astype(total.dtype)

        return jax.tree.map(add, acc.grads, grads)

    def reduce(self, acc: Accumulator) -> Accumulator:
        """Return the sums as they are: where arrays are spread over devices, backward has summed already."""
        return acc

    def norm(self, grads: Tree, p: float) -> Scalar:
        """Return the p-norm of all gradients as one vector, safe from overflow at any loss scale."""
        leaves = [g.astype(self.policy.store) for g in jax.tree.leaves(grads)]

        def largest() -> jax.Array:
            # Among numbers without a sign the order of the bits, as integers, is that of the values, with NaN on top.
            # Integers are compared many at a time; NaN must not be lost, which floats pay for one by one.
            bits = jnp.dtype(f"int{leaves[0].dtype.itemsize * 8}")
            unsigned = [lax.bitcast_convert_type(g, bits) & jnp.iinfo(bits).max for g in leaves]
            most = jnp.max(jnp.stack([jnp.max(each, initial=0) for each in unsigned]))
            return lax.bitcast_convert_type(most, leaves[0].dtype)

        def safe() -> jax.Array:
            unit = largest()
            unit = jnp.where(unit > 0, unit, jnp.ones_like(unit))
            total = sum(jnp.sum((jnp.abs(g) / unit) ** p) for g in leaves)
            return unit * (jnp.sqrt(total) if p == 2 else total ** (1.0 / p))

        if p == float("inf"):
            return largest()
        if p != 2:
            return safe()
        # One pass over the gradients does for all but those whose squares leave the range of the type.
        total = jnp.sum(jnp.stack([jnp.sum(jnp.square(g)) for g in leaves]))
        in_range = jnp.isfinite(total) & (total > SMALLEST_SQUARE)
        if self.branches:
            return lax.cond(in_range, lambda: jnp.sqrt(total), safe)
        return jnp.where(in_range, jnp.sqrt(total), safe())

    def apply(
        self, state: TrainState, player: int, grads: Tree, factor: Scalar, limit: float | None, finite: Scalar
    ) -> TrainState:
        """Take the optimizer's step with grads * factor, bounded; keeps everything where `finite` is false."""
        me = state.players[player]
        mine, rest = self.split(state.params, player)

        def mean(grad: jax.Array, param: jax.Array) -> jax.Array:
            grad = grad * factor
            return (grad if limit is None else jnp.clip(grad, -limit, limit)).astype(param.dtype)

        updates, opt = self._updates(player, jax.tree.map(mean, grads, mine), me, mine, me.acc.loss / me.acc.weight)
        moved = keep_types(optax.apply_updates(mine, updates), mine), keep_types(opt, me.opt)
        if finite is not True:
            moved = jax.tree.map(lambda new, old: jnp.where(finite, new, old), moved, (mine, me.opt))
        state = state._replace(params=self.join(moved[0], rest))
        return state.with_player(player, me._replace(opt=moved[1]))

    def _updates(self, player: int, grads: Tree, me: Player, mine: Tree, loss: Scalar) -> tuple[Tree, Tree]:
        # The loss goes along for transformations that want it, such as optax.contrib.reduce_on_plateau.
        optimizer = optax.with_extra_args_support(self.optimizers[player])
        return optimizer.update(grads, me.opt, mine, value=loss)

    def reads_loss(self, state: TrainState, player: int) -> bool:
        """Return whether the player's optimizer uses the loss of a window."""
        me, (mine, _) = state.players[player], self.split(state.params, player)
        jaxpr = jax.make_jaxpr(lambda loss: self._updates(player, mine, me, mine, loss))(me.acc.loss)
        return depends(jaxpr.jaxpr)

    def empty(self, acc: Accumulator) -> Accumulator:
        """Return an empty window; the next accumulation overwrites the old gradients."""
        zero = jnp.zeros((), self.policy.store)
        return Accumulator(acc.grads if self.open_windows else None, zero, zero, jnp.int32(0))

    def isfinite(self, x: Scalar) -> Scalar:
        """Return whether it is neither NaN nor infinite."""
        # Every kernel that asks would compute what is cheap again, and all that it comes from; a root is computed once.
        return jnp.isfinite(jnp.sqrt(jnp.abs(x)))

    def select(self, condition: Scalar, a: Scalar, b: Scalar) -> Scalar:
        """Return a where the condition holds, else b."""
        if isinstance(condition, bool):
            return a if condition else b
        return jnp.where(condition, a, b)

    def maximum(self, a: Scalar, b: Scalar) -> Scalar:
        """Return the larger; NaN where either is."""
        return jnp.maximum(a, b)

    def when(
        self, flag: Scalar, f: Callable[[TrainState], tuple[TrainState, Report | None]], state: TrainState
    ) -> tuple[TrainState, Report | None]:
        """Return f(state) where the flag holds. Of a traced flag the report is zeros where it does not."""
        if isinstance(flag, bool | np.bool_):
            return f(state) if flag else (state, None)
        shapes = jax.eval_shape(f, state)[1]

        def idle(state: TrainState) -> tuple[TrainState, Report | None]:
            return state, jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

        return lax.cond(flag, lambda state: arrays(f(state)), idle, arrays(state))

    def with_last(self, window: Any) -> Any:
        """The micro-batches of a list, or of arrays stacked along a first axis, each beside 'is it the
        last?'."""
        if isinstance(window, list):
            return [(batch, i == len(window) - 1) for i, batch in enumerate(window)]
        n = length(window)
        if n == 1:
            return [(jax.tree.map(lambda x: x[0], window), True)]
        return window, jnp.arange(n) == n - 1

    def fold(self, f: Callable[[Any, Any], tuple[Any, Any]], carry: Any, items: Any) -> tuple[Any, Any]:
        """f over the items, one after another."""
        return fold(f, carry, items)

    def scan(self, f: Callable[[Any, Any], tuple[Any, Any]], carry: Any, items: Any) -> tuple[Any, Any]:
        """As `fold`, collecting what f returns beside the carry."""
        return scan(f, carry, items)

    def copy(self, state: TrainState) -> TrainState:
        """Return a state that shares no memory with the old one, nor any two of its leaves."""
        return jax.tree.map(_copied, state)


def _copied(leaf: Any) -> Any:
    # A new array of a type that does not give way to others, as those are that come out of a compiled step.
    if is_key(leaf):
        return jnp.copy(leaf)
    return jnp.array(leaf, dtype=leaf.dtype, copy=True)


def warning_of_mixed(name: str, policy: Policy) -> str:
    """Return what to say of a leaf that is an input and a label in one."""
    dtype = jnp.dtype(policy.compute).name
    return (
        f"precision={policy.name!r}: {name} goes into a product with weights, and into the loss besides, so the whole "
        f"of it is cast to {dtype}: a label 10001.0 in it would become {float(np.asarray(10001.0, dtype))}. Give "
        f"labels as a leaf of their own, or cast what goes into the network yourself, x.astype(jnp.{dtype}), and the "
        "batch stays as it is."
    )


def check_scalar(loss: Any) -> jax.Array:
    """Return the loss as an array.

    Raises:
        ValueError: it is not a scalar.
        TypeError: it is not of a floating type.
    """
    if loss is None:
        raise ValueError(
            "the loss is None: a compiled step cannot be skipped by what it returns. Give the loss a weight "
            "of 0 instead: return {'loss': loss, 'weight': jnp.where(skip, 0.0, 1.0)}."
        )
    if isinstance(loss, tuple | list):
        raise ValueError(
            f"the loss is a {type(loss).__name__}: return the scalar alone, or a dict with 'loss' and, where there are "
            "any, 'weight', 'vars' and 'hiddens'."
        )
    shape = jnp.shape(loss)
    if shape != ():
        raise ValueError(f"the loss has shape {shape}: it must be a scalar, such as loss.mean().")
    if not is_floating(loss):
        raise TypeError(f"the loss has type {jnp.result_type(loss)}: it must be floating to be differentiated.")
    return jnp.asarray(loss)


def check_trainable(params: Tree) -> None:
    """Raises TypeError, naming the leaf, where a parameter is not a floating array; ValueError where there is
    none."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    if not leaves:
        raise ValueError("there are no parameters to train: the tree of parameters has no leaf.")
    for path, leaf in leaves:
        if not is_floating(leaf):
            raise TypeError(
                f"params{jax.tree_util.keystr(path)} has type {jnp.result_type(leaf)}: only floating arrays "
                "can be trained; keep others in vars."
            )


def keep_form(new: Tree, old: Tree) -> Tree:
    """Return the new vars with the old ones' types.

    Raises:
        ValueError: their structure or a shape differs, naming where.
    """
    if new is None or new is old:
        return old
    if jax.tree.structure(new) != jax.tree.structure(old):
        raise ValueError(
            f"vars changed their structure in the step: from {jax.tree.structure(old)} to "
            f"{jax.tree.structure(new)}. Return all of them, in the form in which they came."
        )
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(new), jax.tree.leaves(old), strict=True):
        if jnp.shape(a) != jnp.shape(b):
            where = f"vars{jax.tree_util.keystr(path)}"
            raise ValueError(f"{where} changed its shape in the step, from {jnp.shape(b)} to {jnp.shape(a)}.")
    return keep_types(new, old)
