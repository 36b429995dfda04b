"""A range test and a search for a batch size in two processes, each with data of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.processes import programs


def module_of_rate() -> Any:
    """A module whose optimizer is made of an attribute."""
    if programs.framework.__name__ == "functrain_torch":
        import torch

        class Module(programs.Line):
            lr = 0.1

            def configure_optimizers(self) -> Any:
                return torch.optim.SGD(self.parameters(), lr=self.lr)

    else:
        import optax

        class Module(programs.Line):
            lr = 0.1

            def configure_optimizers(self) -> Any:
                return optax.sgd(self.lr)

    return Module()


def find(folder: str, center: float = 1.0, max_lr: float = 0.5) -> dict[str, Any]:
    """A range test around a center of one's own."""
    batches = [programs.array(np.full((4, 1), center * (1 + 0.01 * (i % 3)), np.float32)) for i in range(6)]
    made, module = programs.trainer(folder, max_epochs=1), module_of_rate()
    found = made.tuner.lr_find(module, batches, num_training=30, update_attr=True, max_lr=max_lr, min_lr=1e-3)
    return {"results": found.results, "lr": module.lr, "weight": programs.weight(module)}


def scale(folder: str) -> Any:
    """A search for a batch size."""
    module = module_of_rate()
    module.batch_size = 2
    return programs.trainer(folder, max_epochs=1).tuner.scale_batch_size(module)
