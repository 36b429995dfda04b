"""A fit with a StateDigest and a checkpoint every few updates, in one of the worlds; run as a program it is killed
within its second epoch."""

import os
import signal
import sys
from typing import Any

import flax  # noqa: F401  its import draws from Python's generator, so it comes before the seed
import numpy as np

import functrain_jax as ft
import functrain_torch as pl
from functrain.callbacks import ModelCheckpoint, StateDigest
from functrain.trainer.callback import Callback
from tests.conformance.kits import Jax, Kit, Torch, data

KITS: dict[str, Kit] = {"torch": Torch(), "jax": Jax()}


class Dies(Callback):
    """kill -9 at this update."""

    def __init__(self, update: int) -> None:
        self.update = update

    def every_n_updates(self) -> int:
        return self.update

    def checkpoint(self, trainer: Any, pl_module: Any, moment: Any) -> None:
        if moment == "steps" and moment.now.update == self.update:
            trainer.run.writes.settle()
            os.kill(os.getpid(), signal.SIGKILL)


def fit(world: str, folder: str, ckpt_path: str | None, *others: Callback, every: int = 2) -> StateDigest:
    pl.seed_everything(1)
    ft.seed_everything(1)
    kit, digest = KITS[world], StateDigest(every, dirpath=folder)
    batches = [kit.batch(*batch) for batch in data(7)]
    saver = ModelCheckpoint(dirpath=folder, save_top_k=-1, every_n_train_steps=3)
    trainer = kit.trainer(max_epochs=3, callbacks=[digest, saver, *others], enable_checkpointing=True)
    trainer.fit(kit.module(), batches, ckpt_path=ckpt_path)
    return digest


if __name__ == "__main__":
    np.seterr(all="raise")
    fit(sys.argv[1], sys.argv[2], None, Dies(11))
