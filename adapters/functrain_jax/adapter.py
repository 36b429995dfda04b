"""The parts that run a JAX module."""

from __future__ import annotations

from functools import partial

from functrain.trainer.adapter import Adapter
from functrain.trainer.run import Run
from functrain_jax.aside import set_aside
from functrain_jax.digester import JaxDigester
from functrain_jax.engine import JaxEngine
from functrain_jax.inspector import JaxInspector
from functrain_jax.io import JaxCheckpointIO
from functrain_jax.loaders import JaxLoaders
from functrain_jax.module import Module
from functrain_jax.sweep import sweep


def make(module: Module, run: Run) -> Adapter:
    """Return the adapter of one run of this module."""
    engine = JaxEngine(module, run)
    checkpoints = JaxCheckpointIO(engine.placement.sharding)
    return Adapter(
        engine, checkpoints, JaxLoaders(), JaxInspector(engine),
        aside=partial(set_aside, module), digester=JaxDigester(engine), compiled=True,
        sweep=partial(sweep, module),
    )  # fmt: skip
