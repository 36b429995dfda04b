"""A module from a checkpoint, without a Trainer: hyperparameters to `__init__`, weights into its state."""

from __future__ import annotations

import os
from typing import Any

from functrain.kernel.state import TrainState
from functrain.trainer.errors import CheckpointError, kind
from functrain.trainer.load import module_of
from functrain_jax.binding import Bindings
from functrain_jax.checkpoint import read
from functrain_jax.placement import first_device
from functrain_jax.snapshot import forms, rebuilt, weights


def load_module(cls: Any, path: Any, overrides: dict[str, Any]) -> Any:
    """See `functrain_jax.Module.load_from_checkpoint`."""
    if not isinstance(path, str | os.PathLike):
        raise CheckpointError(f"{path!r}: {kind(path)} names no checkpoint; give a path.")
    path = os.fspath(path)
    module, saved = module_of(cls, read(path), path, overrides, _own, forms)
    binding = Bindings(module)
    params, vars_ = binding.collect()
    new = rebuilt(saved, params), rebuilt(saved, vars_)
    binding.publish(*first_device().state(new))
    return module


def _own(module: Any) -> dict[str, Any]:
    params, vars_ = Bindings(module).collect()
    return weights(TrainState(params, (), vars_))
