"""The JAX engine's part of a checkpoint: taken as arrays by name, put back whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from functrain.kernel.state import Accumulator, Clock, LossScale, Player, TrainState, Tree
from functrain.trainer.errors import CheckpointError, ConfigurationError
from functrain.trainer.functional import check_state, moved_state
from functrain.trainer.weights import ArraySpec, check_not_weights_only, check_weights
from functrain.trainer.weights import differences as differing
from functrain_jax.backend import JaxBackend
from functrain_jax.identity import form
from functrain_jax.keys import is_key
from functrain_jax.placement import Placement

ARRAYS = (jax.Array, np.ndarray, np.generic, bool, int, float, complex)
"""What JAX takes as an array."""


def named(tree: Tree) -> dict[str, Any]:
    """Return the leaves by their path, joined with dots; random keys as their data.

    Raises:
        ConfigurationError: two have the same name, as those of {"a.b": x, "a": {"b": y}}.
    """
    found: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if name in found:
            raise ConfigurationError(
                f"two arrays would both be {name!r} in a checkpoint; give the key with a '.' in it another name."
            )
        found[name] = _raw(leaf)
    return found


def rebuilt(saved: dict[str, Any], own: Tree) -> Tree:
    """Return a tree of the form of `own` with new arrays of the values of `saved`; leaves that it lacks stay as they
    are."""

    def one(path: Any, leaf: Any) -> Any:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if name not in saved:
            return leaf
        if is_key(leaf):
            return jax.random.wrap_key_data(jnp.array(saved[name]), impl=jax.random.key_impl(leaf))
        return jnp.array(saved[name], dtype=leaf.dtype, copy=True)

    return jax.tree_util.tree_map_with_path(one, own)


def differences(saved: dict[str, Any], own: dict[str, Any]) -> str | None:
    """Return what differs between two named trees, in words; None where nothing does. See
    `functrain.trainer.weights`."""
    return differing(forms(saved), forms(own))


def check_alive(state: Any) -> None:
    """Raises ConfigurationError where something else than a state of JAX is given for one, or one whose arrays are
    gone."""
    check_state(state)
    for leaf in jax.tree.leaves(state):
        if not isinstance(leaf, ARRAYS):
            raise ConfigurationError(
                f"a state with a {type(leaf).__name__} is none of functional(module) in functrain_jax: make one by "
                "init()."
            )
        if isinstance(leaf, jax.Array) and not isinstance(leaf, Tracer) and leaf.is_deleted():
            raise moved_state()


def forms(named: Mapping[str, Any]) -> dict[str, ArraySpec]:
    """Return what is compared of named arrays."""
    return {name: ArraySpec(tuple(jnp.shape(leaf)), str(jnp.result_type(leaf))) for name, leaf in named.items()}


def _raw(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if is_key(leaf) else leaf


def weights(state: TrainState) -> dict[str, Any]:
    """Parameters and vars by name, as `self.net.layer.kernel` without the `self.`."""
    return {**named(state.params), **named(state.vars)}


class Modes(Protocol):
    """Which parts of a module evaluate while it trains. See `functrain_jax.evaluator.Modes`."""

    resumed: set[str] | None

    def evaluating(self) -> list[str]:
        """Return their paths."""
        ...


class Holder(Protocol):
    """What a snapshot is taken of, and put back into: the engine of a run. See `functrain_jax.engine.JaxEngine`."""

    state: TrainState | None

    @property
    def module(self) -> object:
        """The user's module."""
        ...

    @property
    def placement(self) -> Placement:
        """Where arrays live."""
        ...

    @property
    def backend(self) -> JaxBackend:
        """Has the optimizers."""
        ...

    @property
    def modes(self) -> Modes:
        """The modes of the module."""
        ...

    def publish(self) -> None:
        """Leave the present values in the user's module."""
        ...


def state_dict(engine: Holder, weights_only: bool) -> dict[str, Any]:
    """Weights; and unless weights_only optimizer states, loss scales, open windows, the random key, running
    metrics."""
    assert engine.state is not None
    state = engine.state
    if weights_only:
        return {"state_dict": weights(state)}
    return {**taken_apart(state), "modes": engine.modes.evaluating()}


def taken_apart(state: TrainState) -> dict[str, Any]:
    """Return a state as arrays by name."""
    return {
        "state_dict": weights(state),
        "players": [_player(player) for player in state.players],
        "jax_key": _raw(state.rng),
        "skipped": int(state.clock.skipped),
    }


def _player(player: Player) -> dict[str, Any]:
    acc = player.acc
    open_ = int(acc.count) > 0
    return {
        "optimizer": named(player.opt),
        "form": form(player.opt),
        "updates": int(player.updates),
        "scale": None if player.scale is None else list(player.scale),
        # What an empty window's gradients still hold means nothing.
        "window": {"grads": named(acc.grads), "sums": [acc.loss, acc.weight, acc.count]} if open_ else None,
    }


def load_state(engine: Holder, saved: Mapping[str, Any] | TrainState, weights_only: bool) -> None:
    """Take a snapshot, or a state, back.

    Raises:
        CheckpointError: it does not fit the module or its optimizers; nothing was changed then.
    """
    assert engine.state is not None
    if isinstance(saved, TrainState):
        check_alive(saved)
        saved = taken_apart(saved)
    state = restored(engine.state, saved, type(engine.module).__name__, None if weights_only else engine.backend)
    if not weights_only:
        engine.modes.resumed = set(saved["modes"]) if "modes" in saved else None
    engine.state = engine.placement.state(state)
    engine.publish()


def restored(state: TrainState, saved: Mapping[str, Any], name: str, backend: JaxBackend | None) -> TrainState:
    """Return the state with the values of a snapshot.

    Args:
        name: the module's class name, for messages.
        backend: the optimizers; None where the weights alone are taken.

    Raises:
        CheckpointError: it does not fit the module or its optimizers.
    """
    check_weights(saved, weights(state), forms, name)
    if backend is not None:
        _check_players(state.players, saved, name)
    state = state._replace(
        params=rebuilt(saved["state_dict"], state.params), vars=rebuilt(saved["state_dict"], state.vars)
    )
    return state if backend is None else _with_players(state, saved, backend)


def _check_players(own: Sequence[Player], saved: Mapping[str, Any], name: str) -> None:
    check_not_weights_only(saved, "players")
    if len(saved["players"]) != len(own):
        raise CheckpointError(f"has {len(saved['players'])} optimizers, and {name} configures {len(own)}.")
    for i, (kept, player) in enumerate(zip(saved["players"], own, strict=True)):
        differs = differences(kept["optimizer"], named(player.opt))
        if differs:
            raise CheckpointError(f"its optimizer {i} is another than {name}'s: {differs}.")
        own_form = form(player.opt)
        if kept.get("form", own_form) != own_form:
            raise CheckpointError(
                f"its optimizer {i} is another than {name}'s: its state is {kept['form']}, and not {own_form}. "
                "Continue with the same transformation, or load the weights alone with load_from_checkpoint."
            )


def _with_players(state: TrainState, saved: Mapping[str, Any], backend: JaxBackend) -> TrainState:
    for i, kept in enumerate(saved["players"]):
        me = state.players[i]
        scale = me.scale
        if scale is not None and kept["scale"] is not None:
            scale = LossScale(jnp.asarray(kept["scale"][0], jnp.float32), jnp.asarray(kept["scale"][1], jnp.int32))
        state = state.with_player(
            i,
            Player(
                rebuilt(kept["optimizer"], me.opt),
                _window(state, i, kept["window"], backend),
                scale,
                jnp.int32(kept["updates"]),
            ),
        )
    rng = rebuilt({"": saved["jax_key"]}, state.rng)
    clock = Clock(jnp.int32(0), jnp.int32(0), jnp.int32(0), jnp.int32(saved["skipped"]))
    return state._replace(rng=rng, clock=clock)


def _window(state: TrainState, player: int, kept: Any, backend: JaxBackend) -> Accumulator:
    if kept is None:
        return state.players[player].acc
    grads = rebuilt(kept["grads"], backend.zeros(state.params, player))
    loss, weight, count = kept["sums"]
    store = backend.policy.store
    return Accumulator(grads, jnp.asarray(loss, store), jnp.asarray(weight, store), jnp.asarray(count, jnp.int32))
