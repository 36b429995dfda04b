"""A module's state set aside while other runs train it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from functrain.trainer.module import set_context
from functrain_jax.binding import Bindings
from functrain_jax.binding.composite import restore
from functrain_jax.module import Module


@contextmanager
def set_aside(module: Module) -> Iterator[None]:
    """Within it other runs may leave their values in the module; afterwards it has the very arrays, modes and run of
    before. A run donates only arrays of its own, copies of those that it found."""
    binding, trainer, context = Bindings(module), module._trainer, module._context
    held, modes = binding.collect(), binding.modes()
    try:
        yield
    finally:
        binding.publish(*held)
        restore(modes)
        module.trainer = trainer
        set_context(module, context)
