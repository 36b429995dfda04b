"""Which adapter runs a module: asked of those that have registered, the latest first. Knows no framework."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from functrain.trainer.adapter import Adapter
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.flags import Flags
from functrain.trainer.run import Run

Claims: TypeAlias = Callable[[Any, Flags], bool]
Make: TypeAlias = Callable[[Any, Run], Adapter]

_registered: list[tuple[Claims, Make]] = []


def register(claims: Claims, make: Make) -> None:
    """Have `make(module, run)` be called for the modules of which `claims(module, flags)` is true.

    An adapter does so when its package is imported, so whoever defines a module of its kind has it registered.
    """
    _registered.append((claims, make))


def find(stage: str, module: Any, flags: Flags) -> Make:
    """Return what makes the adapter of this module under these flags.

    Args:
        stage: what is asked of the Trainer, for messages.

    Raises:
        ConfigurationError: no adapter knows it.
    """
    if isinstance(module, type):
        raise ConfigurationError(f"trainer.{stage}({module.__name__}): this is a class; give an instance of it.")
    if module is None:
        raise ConfigurationError(
            f"trainer.{stage}(): no module was given; give an instance of functrain_torch.LightningModule or "
            "functrain_jax.Module."
        )
    make = next((make for claims, make in reversed(_registered) if claims(module, flags)), None)
    if make is None:
        raise ConfigurationError(
            f"trainer.{stage}({type(module).__name__}): not a module of any adapter; subclass "
            "functrain_torch.LightningModule or functrain_jax.Module."
        )
    return make
