"""Digests of a JAX run's state and batches; see `functrain.trainer.digests`. Reads arrays and changes nothing."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from functrain.kernel.state import TrainState
from functrain.trainer.digests import BLOCK, PARTS, Digests, Layout, odd, tree_digest
from functrain_jax.engine import JaxEngine
from functrain_jax.keys import is_key
from functrain_jax.snapshot import named

KEY = "jax key"


class JaxDigester:
    """See `functrain.trainer.digests.Digester`."""

    def __init__(self, engine: JaxEngine) -> None:
        self.engine = engine
        self._layouts: dict[Any, Layout] = {}

    def state(self) -> Digests:
        state = self.engine.state
        assert state is not None
        parts = _parts(state)
        structure = jax.tree.structure(parts)
        if structure not in self._layouts:
            self._layouts[structure] = _layout(parts)
        values = _digests((parts, state.rng))
        return Digests(self._layouts[structure], lambda: np.asarray(values).tolist(), (KEY,))

    def batch(self, batch: Any) -> int:
        return tree_digest(batch, lambda leaf: np.asarray(leaf) if isinstance(leaf, jax.Array) else None)


def _parts(state: TrainState) -> tuple[Any, Any, Any]:
    return state.params, state.vars, [(player.opt, player.scale) for player in state.players]


def _layout(parts: tuple[Any, ...]) -> Layout:
    arrays = [named(part) for part in parts]
    names = {part: tuple(found) for part, found in zip(PARTS, arrays, strict=True)}
    forms = tuple(f"{jnp.result_type(x)}{jnp.shape(x)}" for found in arrays for x in found.values())
    return Layout(names, forms)


@jax.jit
def _digests(tree: Any) -> jax.Array:
    return jnp.stack([_digest(leaf) for leaf in jax.tree.leaves(tree)])


def _digest(array: Any) -> jax.Array:
    words = _words(array).reshape(-1)
    place = lax.iota(jnp.uint32, words.size)
    mixed = words ^ (words >> 16)
    # Within the first block its own weight is 1, which the compiler does not find out.
    weights = odd(place) if words.size <= BLOCK else odd(place % BLOCK) * odd(place // BLOCK)
    return jnp.sum(mixed * weights, dtype=jnp.uint32)


def _words(array: Any) -> jax.Array:
    """The array's bits as 32-bit words."""
    array = jax.random.key_data(array) if is_key(jnp.asarray(array)) else jnp.asarray(array)
    if jnp.iscomplexobj(array):
        array = jnp.stack([array.real, array.imag], axis=-1)
    if array.dtype == jnp.bool_:
        array = array.astype(jnp.int8)
    size = array.dtype.itemsize
    if size < 4:
        array = lax.bitcast_convert_type(array, jnp.int16 if size == 2 else jnp.int8).astype(jnp.int32)
    return lax.bitcast_convert_type(array, jnp.uint32)
