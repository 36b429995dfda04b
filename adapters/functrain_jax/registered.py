"""`Module` for users, whose instances have what runs and what checks them."""

from __future__ import annotations

from typing import Any

from functrain.testing.tools import Tools
from functrain.testing.tools import register as register_tools
from functrain.trainer import adapters
from functrain.trainer.adapter import Adapter
from functrain.trainer.flags import Flags
from functrain.trainer.run import Run
from functrain_jax.module import Module

__all__ = ["Module"]


def _runs(module: Any, flags: Flags) -> bool:
    return isinstance(module, Module)


def _make(module: Module, run: Run) -> Adapter:
    from functrain_jax.adapter import make

    return make(module, run)


def _tools() -> Tools:
    from functrain_jax.testing import JaxTools

    return JaxTools()


adapters.register(_runs, _make)
register_tools(Module, _tools)
