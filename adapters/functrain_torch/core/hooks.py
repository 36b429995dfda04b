"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.trainer.module_hooks import DataHooks as CheckpointHooks
from functrain.trainer.module_hooks import DataHooks as DataHooks
from functrain.trainer.module_hooks import ModuleHooks as ModelHooks

__all__ = [
    "CheckpointHooks",
    "DataHooks",
    "ModelHooks",
]
