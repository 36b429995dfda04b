"""The stream of random keys that runs start from. JAX has no global generator; this is one, seeded by
`seed_everything`.

Importing this registers it with `functrain.seed`. Inside a compiled step no key comes from here.
"""

from __future__ import annotations

import secrets
from typing import Any

import jax
import jax.numpy as jnp

from functrain.seed import checked_seed, global_seed, register_rng, register_seeder
from functrain.trainer.narrow import is_count


class Stream:
    """A seed and how many keys were drawn from it."""

    def __init__(self) -> None:
        self.seed: int | None = None
        self.drawn = 0

    def set_seed(self, seed: int) -> None:
        """Begin anew with this seed."""
        self.seed, self.drawn = seed, 0

    def state(self) -> list[int | None]:
        """Return the position as plain values."""
        return [self.seed, self.drawn]

    def set_state(self, state: Any) -> None:
        """Go to a position that `state` returned. Raises ValueError or TypeError where it is none."""
        seed, drawn = state
        is_seed = seed is None or isinstance(seed, int)
        if not is_seed or not is_count(drawn):
            raise ValueError(f"{state!r} is not a seed and a count of drawn keys.")
        self.seed, self.drawn = seed, drawn

    def next(self) -> Any:
        """Return a key that no call before has given."""
        if self.seed is None:
            given = global_seed()
            self.seed = secrets.randbits(32) if given is None else given
        key = jax.random.fold_in(jax.random.key(self.seed), self.drawn)
        self.drawn += 1
        return key


STREAM = Stream()
register_seeder("jax", STREAM.set_seed)
register_rng("jax", STREAM.state, STREAM.set_state)


def next_key() -> Any:
    """Return a random key that no call before has given, from the stream that `seed_everything` seeds."""
    return STREAM.next()


def is_key(array: Any) -> bool:
    """Return whether an array is one of random keys."""
    return jnp.issubdtype(array.dtype, jax.dtypes.prng_key)


def first_key(seed: Any) -> Any:
    """Return the key that a run would begin with after `seed_everything(seed)`; None takes the stream as it is now,
    which is not moved."""
    stream = Stream()
    if seed is None:
        stream.set_state(STREAM.state())
    else:
        given: Any = seed if isinstance(seed, jax.Array) else checked_seed(seed, "seed")
        stream.set_seed(given)
    return stream.next()


def key_of(rng: Any) -> Any:
    """Return the key of an int; a key, or None, as it is."""
    return jax.random.key(rng) if isinstance(rng, int) else rng
