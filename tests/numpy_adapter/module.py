"""What a user subclasses."""

from __future__ import annotations

from typing import Any

from functrain.trainer import adapters
from functrain.trainer.adapter import Adapter
from functrain.trainer.hparams import HyperparametersMixin
from functrain.trainer.module import ModuleBase
from functrain.trainer.run import Run


class Module(HyperparametersMixin, ModuleBase):
    """A model of numpy arrays, `self.params` by name, that knows its own gradients.

    `training_step(batch, batch_idx)` returns a `Micro`: the loss, the gradients of `self.params` and, where the loss is
    a mean over so many samples, the weight; or None to leave a batch out. Of several optimizers it takes the number
    too, `training_step(batch, batch_idx, optimizer_idx)`. `configure_optimizers` returns an optimizer, or a list of
    dicts {"optimizer": ..., "params": names, "frequency": ...}.
    """

    params: dict[str, Any]


def _make(module: Any, run: Run) -> Adapter:
    # What runs a module is loaded when one is run.
    from tests.numpy_adapter.engine import NumpyEngine
    from tests.numpy_adapter.inspector import NumpyInspector
    from tests.numpy_adapter.io import NumpyCheckpointIO
    from tests.numpy_adapter.loaders import NumpyLoaders

    engine = NumpyEngine(module, run)
    return Adapter(engine, NumpyCheckpointIO(), NumpyLoaders(), NumpyInspector(engine))


adapters.register(lambda module, flags: isinstance(module, Module), _make)
