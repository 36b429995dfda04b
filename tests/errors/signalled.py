"""A script that fits until a signal ends it. Prints 'ready' at the second batch, and goes on only when it is told."""

from __future__ import annotations

import signal
import sys
from typing import Any

WORLD, FOLDER, HOW = sys.argv[1:4]
FLAGS: dict[str, Any] = {
    "max_epochs": 1, "logger": False, "progress_bar_refresh_rate": 0, "weights_summary": None,
    "default_root_dir": FOLDER,
}  # fmt: skip


def ready() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def batches() -> Any:
    import numpy as np

    for i in range(50):
        if i == 1:
            ready()
        yield np.ones((2, 3), np.float32)


class Batches:
    def __len__(self) -> int:
        return 50

    def __iter__(self) -> Any:
        return batches()


def torch_run() -> None:
    import torch

    import functrain_torch as pl

    class Net(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(3, 1)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.layer(torch.as_tensor(batch)).mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    class Told(pl.Callback):
        def on_keyboard_interrupt(self, trainer: Any, pl_module: Any) -> None:
            print("told", trainer.interrupted, flush=True)

        def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
            print("torn down", flush=True)

    pl.Trainer(callbacks=Told(), **FLAGS).fit(Net(), Batches())


def jax_run() -> None:
    """Its steps are one long compiled call, which tells when it has begun."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    import functrain_jax as fj

    class Slow(fj.Module):
        def __init__(self) -> None:
            self.params = {"w": jnp.zeros((3,))}

        def training_step(self, batch: Any, batch_idx: Any) -> Any:
            jax.debug.callback(lambda i: ready() if int(i) == 1 else None, batch_idx)
            return (batch @ self.params["w"]).mean()

        def configure_optimizers(self) -> Any:
            return optax.sgd(0.1)

    fj.Trainer(**FLAGS).fit(Slow(), [np.ones((2, 3), np.float32)] * 50)


if HOW == "own handler":
    signal.signal(signal.SIGTERM, lambda *_: print("mine", flush=True))
{"torch": torch_run, "jax": jax_run}[WORLD]()
print("after the fit", flush=True)
