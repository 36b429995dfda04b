"""Checkpoints of torch modules: files that `torch.load` reads."""

from __future__ import annotations

from functrain_torch import ckpt


class TorchCheckpointIO:
    """See `functrain.trainer.adapter.CheckpointIO`."""

    suffix = ".ckpt"
    save = staticmethod(ckpt.begin)
    load = staticmethod(ckpt.read)
    mark = staticmethod(ckpt.mark)
    pack = staticmethod(ckpt.pack)
    unpack = staticmethod(ckpt.unpack)
