"""Checkpoints of JAX modules: folders in orbax's store form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax

from functrain_jax import checkpoint, encoding


class JaxCheckpointIO:
    """See `functrain.trainer.adapter.CheckpointIO`.

    Args:
        sharding: where arrays that are loaded are put, but those for which the engine has a place.
    """

    suffix = ".ckpt"
    save = staticmethod(checkpoint.begin)
    mark = staticmethod(checkpoint.mark)
    pack = staticmethod(encoding.pack)
    unpack = staticmethod(encoding.unpack)

    def __init__(self, sharding: jax.sharding.Sharding) -> None:
        self.sharding = sharding

    def load(self, path: str, like: Callable[[], Mapping[str, Any]] | None = None) -> dict[str, Any]:
        return checkpoint.read(path, self.sharding, None if like is None else like())
