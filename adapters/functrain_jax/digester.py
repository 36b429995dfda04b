"""Digests of a JAX run's state and batches; see `functrain.trainer.digests`. Reads arrays and changes nothing."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from functrain.trainer.digests import PARTS, Digests, Layout, tree_digest
from functrain_jax.digests import digest, parts
from functrain_jax.engine import JaxEngine
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
        structure = jax.tree.structure(parts(state))
        if structure not in self._layouts:
            self._layouts[structure] = _layout(parts(state))
        here = self.engine.noted_places.here
        if here is not None:
            return Digests(self._layouts[structure], here.digests, (KEY,))
        values = digest(state)
        return Digests(self._layouts[structure], lambda: np.asarray(values).tolist(), (KEY,))

    def batch(self, batch: Any) -> int:
        return tree_digest(batch, lambda leaf: np.asarray(leaf) if isinstance(leaf, jax.Array) else None)


def _layout(parts: tuple[Any, ...]) -> Layout:
    arrays = [named(part) for part in parts]
    names = {part: tuple(found) for part, found in zip(PARTS, arrays, strict=True)}
    forms = tuple(f"{jnp.result_type(x)}{jnp.shape(x)}" for found in arrays for x in found.values())
    return Layout(names, forms)
