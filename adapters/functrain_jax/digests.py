"""The digests of a state, traced; see `functrain.trainer.digests`. Pure."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from functrain.kernel.state import TrainState
from functrain.trainer.digests import BLOCK, odd
from functrain_jax.keys import is_key

FOLDS = 8, 16
"""Into so many parts long arrays are folded, one after another."""

SHORT = 4096
"""Arrays of fewer words are not worth it."""


def parts(state: TrainState) -> tuple[Any, Any, Any]:
    """Return what `functrain.trainer.digests.PARTS` names of a state."""
    return state.params, state.vars, [(player.opt, player.scale) for player in state.players]


def digested(state: TrainState) -> jax.Array:
    """Return the digests of a state's arrays, one behind another, and last that of its random key."""
    return of_arrays((parts(state), state.rng))


def of_arrays(tree: Any) -> jax.Array:
    """Return the digests of the arrays of a tree, one behind another."""
    all_words = [_words(leaf).reshape(-1) for leaf in jax.tree.leaves(tree)]
    longest = max(words.size for words in all_words)
    # As a value that the compiler does not look into: it would keep the weights of each array apart.
    weights = lax.optimization_barrier(jnp.asarray(odd(np.arange(min(longest, BLOCK), dtype=np.uint32))))
    return jnp.stack([_digest(words, weights) for words in all_words])


def _digest(words: jax.Array, weights: jax.Array) -> jax.Array:
    mixed, whole = words ^ (words >> 16), words.size // BLOCK * BLOCK
    found = _sum(mixed[whole:] * weights[: words.size - whole])
    if not whole:
        return found
    blocks = whole // BLOCK
    of_blocks = odd(np.arange(blocks + 1, dtype=np.uint32))
    weighted = mixed[:whole].reshape(blocks, BLOCK) * weights * of_blocks[:blocks, None]
    return _sum(weighted.reshape(-1)) + found * of_blocks[blocks]


def _sum(numbers: jax.Array) -> jax.Array:
    """Return their sum. XLA's compiler for the CPU adds up one array number by number, and two arrays many numbers at a
    time: so long ones are folded first."""
    rest = jnp.uint32(0)
    for parts in FOLDS if numbers.size >= SHORT else ():
        size = numbers.size // parts
        rest += jnp.sum(numbers[size * parts :], dtype=jnp.uint32)
        # Each fold by itself: together they would be one loop over single numbers again.
        numbers = lax.optimization_barrier(sum(numbers[i * size : (i + 1) * size] for i in range(parts)))
    return rest + jnp.sum(numbers, dtype=jnp.uint32)


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


digest = jax.jit(digested)
"""The same, compiled by itself."""
