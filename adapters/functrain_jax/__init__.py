"""functrain for JAX: modules of flax nnx, linen or plain functions for the Trainer, and the step alone."""

from __future__ import annotations

from functrain import callbacks, loggers
from functrain.assembly import Trainer
from functrain.callbacks import Callback
from functrain.data import ArrayLoader
from functrain.seed import seed_everything
from functrain.trainer.errors import CheckpointError, ConfigurationError
from functrain_jax.keys import STREAM
from functrain_jax.linen import from_linen
from functrain_jax.module import Module
from functrain_jax.step import Step, make_step

next_key = STREAM.next

__all__ = [
    "ArrayLoader",
    "Callback",
    "CheckpointError",
    "ConfigurationError",
    "Module",
    "Step",
    "Trainer",
    "callbacks",
    "from_linen",
    "loggers",
    "make_step",
    "next_key",
    "seed_everything",
]
