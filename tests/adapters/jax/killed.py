"""A run that may be killed by itself, as a script: `python -m tests.adapters.jax.killed FOLDER KILL_AT`.

It continues from the newest checkpoint in the folder, shuffles by numpy's global generator, and prints its end as JSON.
"""

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np

import functrain_jax as ft
from functrain.callbacks import EarlyStopping, ModelCheckpoint
from tests import inside
from tests.adapters.jax.common import Classifier, X, Y, trainer

KILL_AT = 0


class Shuffled:
    """Another order in every epoch; kills the process at the batch that it is told to."""

    drawn = 0

    def __len__(self):
        return 12

    def __iter__(self):
        order = np.random.permutation(96)
        for start in range(0, 96, 8):
            Shuffled.drawn += 1
            if Shuffled.drawn == KILL_AT:
                os.kill(os.getpid(), signal.SIGKILL)
            rows = order[start : start + 8]
            yield X[rows], Y[rows]


def main(folder: Path) -> None:
    newest = sorted(folder.glob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns)
    ft.seed_everything(3 if not newest else 1234)
    keep = ModelCheckpoint(dirpath=str(folder), monitor="loss", save_top_k=-1, every_n_train_steps=2, filename="{step}")
    run = trainer(
        max_epochs=4,
        callbacks=[keep, EarlyStopping("val_loss", patience=9)],
        checkpoint_callback=True,
        accumulate_grad_batches=5,
    )
    module = Classifier()
    run.fit(module, Shuffled(), Shuffled(), ckpt_path=str(newest[-1]) if newest else None)
    end = {
        "weights": {k: np.asarray(v).tobytes().hex() for k, v in inside.jax_weights(run).items()},
        "metrics": {k: float(v) for k, v in sorted(run.callback_metrics.items())},
        "key": ft.next_key().__repr__(),
        "numpy": int(np.random.randint(2**31)),
        "step": run.global_step,
        "resumed": bool(newest),
    }
    print("END " + json.dumps(end))


if __name__ == "__main__":
    KILL_AT = int(sys.argv[2])
    main(Path(sys.argv[1]))
