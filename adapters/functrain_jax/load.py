"""A module from a checkpoint, without a Trainer: hyperparameters to `__init__`, weights into its state."""

from __future__ import annotations

from typing import Any

from functrain.kernel.state import TrainState
from functrain.trainer.checkpoint import check_format
from functrain.trainer.errors import CheckpointError
from functrain.trainer.load import arguments_of
from functrain_jax.binding import Bindings
from functrain_jax.checkpoint import read
from functrain_jax.placement import first_device
from functrain_jax.snapshot import differences, rebuilt, weights


def load_module(cls: Any, path: str, overrides: dict[str, Any]) -> Any:
    """See `functrain_jax.Module.load_from_checkpoint`."""
    saved = check_format(read(path), path)
    if "state_dict" not in saved:
        raise CheckpointError(f"{path}: has no weights (no 'state_dict').")
    module = cls(**arguments_of(cls, saved.get("hyper_parameters", {}), overrides, saved.get("hparams_name")))
    hook = getattr(module, "on_load_checkpoint", None)
    if hook is not None:
        hook(saved)
    binding = Bindings(module)
    params, vars_ = binding.collect()
    own = weights(TrainState(params, (), vars_))
    differs = differences(saved["state_dict"], own)
    if differs:
        raise CheckpointError(f"{path}: is of another module than {cls.__name__}: {differs}.")
    placement = first_device()
    new = rebuilt(saved["state_dict"], params), rebuilt(saved["state_dict"], vars_)
    binding.publish(*placement.state(new))
    return module
