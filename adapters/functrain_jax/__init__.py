"""functrain for JAX: modules of flax nnx, linen or plain functions for the Trainer, and the step alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from functrain.seed import isolate_rng, seed_everything
from functrain.trainer.errors import CheckpointError, ConfigurationError, NotFiniteError
from functrain.trainer.functional import LossStep, Step
from functrain.trainer.profiler_names import register

# What JAX and flax draw from the global generators of Python and numpy when they are first imported is not missed by
# whoever has seeded them before.
with isolate_rng():
    from functrain_jax.keys import next_key
    from functrain_jax.step import make_step

if TYPE_CHECKING:
    from functrain import callbacks as callbacks
    from functrain import loggers as loggers
    from functrain.assembly import Trainer as Trainer
    from functrain.data import ArrayLoader as ArrayLoader
    from functrain.trainer.callback import Callback as Callback
    from functrain.trainer.combined import CombinedLoader as CombinedLoader
    from functrain_jax import profilers as profilers
    from functrain_jax.binding.linen import from_linen as from_linen
    from functrain_jax.module import Module as Module
    from functrain_jax.module_step import failing_batch as failing_batch
    from functrain_jax.module_step import functional as functional
    from functrain_jax.module_step import load_state as load_state

# Looked up when first used: the step alone needs neither the Trainer nor flax.
_WHERE = {
    "ArrayLoader": "functrain.data",
    "Callback": "functrain.trainer.callback",
    "CombinedLoader": "functrain.trainer.combined",
    "Module": "functrain_jax.registered",
    "Trainer": "functrain.assembly",
    "failing_batch": "functrain_jax.module_step",
    "from_linen": "functrain_jax.binding.linen",
    "functional": "functrain_jax.module_step",
    "load_state": "functrain_jax.module_step",
}
_MODULES = {
    "callbacks": "functrain.callbacks",
    "loggers": "functrain.loggers",
    "profilers": "functrain_jax.profilers",
}

__all__ = [
    "ArrayLoader",
    "Callback",
    "CheckpointError",
    "CombinedLoader",
    "ConfigurationError",
    "LossStep",
    "Module",
    "NotFiniteError",
    "Step",
    "Trainer",
    "callbacks",
    "failing_batch",
    "from_linen",
    "functional",
    "load_state",
    "loggers",
    "make_step",
    "next_key",
    "profilers",
    "seed_everything",
]


def _profiler() -> Any:
    from functrain_jax.jax_profiler import JAXProfiler

    return JAXProfiler()


register("jax", _profiler)
register("xla", _profiler)


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _WHERE:
        with isolate_rng():
            return getattr(import_module(_WHERE[name]), name)
    if name in _MODULES:
        return import_module(_MODULES[name])
    raise AttributeError(f"module 'functrain_jax' has no attribute {name!r}")
