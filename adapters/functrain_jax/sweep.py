"""Short fits at given learning rates: what a tuner changes of a JAX module, and puts back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax.numpy as jnp

from functrain.trainer.errors import ConfigurationError
from functrain.tuner.attributes import Attribute, standing_in
from functrain_jax.module import Module


@contextmanager
def sweep(module: Module, rates: Sequence[float], attribute: str | None) -> Iterator[Callable[[int, float], None]]:
    """See `functrain.trainer.adapter.Sweep`: while `configure_optimizers` is asked, the attribute is a schedule, which
    optax takes wherever it takes a number."""
    name = type(module).__name__
    if attribute is None:
        raise ConfigurationError(
            f"lr_find: the rate of a JAX module is part of its optax transformation, so {name} must make that of an "
            "attribute: self.lr, self.learning_rate, or the one that attr_name names."
        )
    rate, planned, asked = Attribute(attribute, module), jnp.asarray(rates), [False]
    configure = module.configure_optimizers

    def schedule(count: Any) -> Any:
        asked[0] = True
        return planned[jnp.minimum(count, len(rates) - 1)]

    def configure_optimizers() -> Any:
        before = rate.get()
        rate.set(schedule)
        try:
            return configure()
        except TypeError as error:
            raise ConfigurationError(
                f"lr_find: {name}.configure_optimizers cannot work with a schedule in place of self.{attribute} "
                f"({error}); hand it to optax as it is."
            ) from error
        finally:
            rate.set(before)

    def set_rate(update: int, rate: float) -> None:
        if update and not asked[0]:
            raise ConfigurationError(
                f"lr_find: {name}.configure_optimizers makes its optimizer of something else than self.{attribute}, so "
                "the rates of the test do not hold; name the right attribute (attr_name=...)."
            )

    with standing_in(module, "configure_optimizers", configure_optimizers):
        yield set_rate
