"""functrain: training as a pure function, and a Trainer over it. Imports neither torch nor jax.

The modules for a framework are in its adapter: `functrain_torch.LightningModule`, `functrain_jax.Module`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from functrain.version import __version__

if TYPE_CHECKING:
    from functrain import callbacks as callbacks
    from functrain import kernel as kernel
    from functrain import loggers as loggers
    from functrain import profilers as profilers
    from functrain import testing as testing
    from functrain.assembly import Trainer as Trainer
    from functrain.data import ArrayLoader as ArrayLoader
    from functrain.seed import seed_everything as seed_everything
    from functrain.trainer.callback import Callback as Callback
    from functrain.trainer.combined import CombinedLoader as CombinedLoader

_WHERE = {
    "Trainer": "functrain.assembly",
    "Callback": "functrain.trainer.callback",
    "seed_everything": "functrain.seed",
    "ArrayLoader": "functrain.data",
    "CombinedLoader": "functrain.trainer.combined",
}
_MODULES = ("callbacks", "kernel", "loggers", "profilers", "testing")
__all__ = [
    "ArrayLoader",
    "Callback",
    "CombinedLoader",
    "Trainer",
    "__version__",
    "callbacks",
    "kernel",
    "loggers",
    "profilers",
    "seed_everything",
    "testing",
]


def __getattr__(name: str) -> Any:
    # Names are looked up when they are first used: `import functrain` costs next to nothing.
    from importlib import import_module

    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    if name in _MODULES:
        return import_module(f"functrain.{name}")
    raise AttributeError(f"module 'functrain' has no attribute {name!r}")
