"""Checkpoints of torch modules: files that `torch.load` reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from functrain_torch import ckpt


class TorchCheckpointIO:
    """See `functrain.trainer.adapter.CheckpointIO`."""

    suffix = ".ckpt"
    save = staticmethod(ckpt.begin)
    mark = staticmethod(ckpt.mark)
    pack = staticmethod(ckpt.pack)
    unpack = staticmethod(ckpt.unpack)

    def load(self, path: str, like: Callable[[], Mapping[str, Any]] | None = None) -> dict[str, Any]:
        # All are read into the host's memory: the engine copies them into tensors of its own.
        return ckpt.read(path)
