"""Checkpoints of JAX modules: folders in orbax's store form."""

from __future__ import annotations

from typing import Any

import jax

from functrain_jax import checkpoint, encoding


class JaxCheckpointIO:
    """See `functrain.trainer.adapter.CheckpointIO`.

    Args:
        sharding: where the arrays of a checkpoint that is loaded are put.
    """

    suffix = ".ckpt"
    save = staticmethod(checkpoint.begin)
    mark = staticmethod(checkpoint.mark)
    pack = staticmethod(encoding.pack)
    unpack = staticmethod(encoding.unpack)

    def __init__(self, sharding: jax.sharding.Sharding) -> None:
        self.sharding = sharding

    def load(self, path: str) -> dict[str, Any]:
        return checkpoint.read(path, self.sharding)
