"""What the JAX engine knows of loaders: sequences of batches; a loader of another framework is known by that one's
adapter.

Adapters do not import one another: the other is looked up by its name, and only where the user's own loader, or the
user, has loaded that framework already.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from functrain.trainer.errors import CheckpointError

FRAMEWORKS = ("torch",)
"""Frameworks with loaders whose adapters, `functrain_<name>`, have the modules `data` and `rng`."""


def tools_of(loader: Any) -> Any | None:
    """The functions for loaders of the adapter of the framework that this loader's class comes from; else None."""
    packages = {base.__module__.partition(".")[0] for base in type(loader).__mro__}
    framework = next((name for name in FRAMEWORKS if name in packages), None)
    return None if framework is None else import_module(f"functrain_{framework}.data")


def register_generators() -> None:
    """Have the generators of loaded frameworks seeded and kept in checkpoints: a loader may shuffle with them."""
    for framework in FRAMEWORKS:
        if framework in sys.modules:
            import_module(f"functrain_{framework}.rng").register()


class Loaders:
    """The part of an engine that knows loaders; see `functrain.trainer.data.LoaderTools`."""

    def skip(self, loader: Any, n: int) -> Iterator[Any] | None:
        """An iterator over all but the first n batches that reads none of them; None where that is not known
        how."""
        tools = tools_of(loader)
        if tools is not None:
            return tools.skip(loader, n)
        if isinstance(loader, Sequence):
            return (loader[i] for i in range(n, len(loader)))
        return None

    def loader_rng(self, loader: Any) -> Any | None:
        """The states of generators that belong to the loader, its sampler and its data set alone, as plain values and
        arrays; None where they have none."""
        tools = tools_of(loader)
        if tools is not None:
            states = tools.loader_rng(loader)
            return None if states is None else [state.numpy() for state in states]
        return [_state(generator) for generator in _generators(loader)] or None

    def set_loader_rng(self, loader: Any, state: Any) -> None:
        """Take `loader_rng` back.

        Raises:
            CheckpointError: the loader has other generators now.
        """
        tools = tools_of(loader)
        if tools is not None:
            from_numpy = sys.modules["torch"].from_numpy
            tools.set_loader_rng(loader, [from_numpy(np.array(s)) for s in state])
            return
        generators = _generators(loader)
        if len(generators) != len(state):
            raise CheckpointError(
                f"the loader had {len(state)} random generators of its own, and this {type(loader).__name__} has "
                f"{len(generators)}; continue with the same loader."
            )
        for generator, kept in zip(generators, state, strict=True):
            _set_state(generator, kept)

    def unshuffled(self, loader: Any) -> Any:
        """The same loader in a fixed order."""
        tools = tools_of(loader)
        return loader if tools is None else tools.unshuffled(loader)


GENERATORS = (random.Random, np.random.Generator, np.random.RandomState)


def _generators(loader: Any) -> list[Any]:
    """Generators among the attributes of the loader, its sampler and its data set."""
    found: list[Any] = []
    for owner in (loader, getattr(loader, "sampler", None), getattr(loader, "dataset", None)):
        for value in getattr(owner, "__dict__", {}).values():
            if isinstance(value, GENERATORS) and all(value is not known for known in found):
                found.append(value)
    return found


def _state(generator: Any) -> Any:
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return generator.get_state(legacy=False)


def _set_state(generator: Any, state: Any) -> None:
    if isinstance(generator, random.Random):
        generator.setstate(state)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    else:
        generator.set_state(state)
