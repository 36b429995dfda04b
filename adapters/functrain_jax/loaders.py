"""What the JAX adapter knows of loaders: one of another framework is known by that one's adapter.

Adapters do not import one another: the other is looked up by its name, and only where the user's own loader, or the
user, has loaded that framework already.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any

from functrain.trainer import generators

FRAMEWORKS = ("torch",)
"""Frameworks with loaders whose adapters, `functrain_<name>`, have the modules `data` and `rng`."""


def tools_of(loader: Any) -> Any | None:
    """Return the functions for loaders of the adapter of the framework that this loader's class comes from; else
    None."""
    packages = {base.__module__.partition(".")[0] for base in type(loader).__mro__}
    framework = next((name for name in FRAMEWORKS if name in packages), None)
    return None if framework is None else import_module(f"functrain_{framework}.data")


def register_generators() -> None:
    """Have the generators of loaded frameworks seeded and kept in checkpoints: a loader may shuffle with them."""
    for framework in FRAMEWORKS:
        if framework in sys.modules:
            import_module(f"functrain_{framework}.rng").register()


class JaxLoaders:
    """See `functrain.trainer.reader.LoaderTools`."""

    def skip(self, loader: Any, n: int, opened: Callable[[], object] | None = None) -> Iterator[Any] | None:
        """See the protocol."""
        tools = tools_of(loader)
        return None if tools is None else tools.skip(loader, n, opened)

    def loader_rng(self, loader: Any) -> Any | None:
        """See `functrain.trainer.generators`."""
        return generators.loader_rng(loader)

    def set_loader_rng(self, loader: Any, state: Any) -> None:
        """See `functrain.trainer.generators`."""
        generators.set_loader_rng(loader, state)

    def shuffles(self, loader: Any) -> bool:
        """See the protocol."""
        tools = tools_of(loader)
        return False if tools is None else tools.shuffles(loader)

    def unshuffled(self, loader: Any) -> Any:
        """Return the same loader in a fixed order."""
        tools = tools_of(loader)
        return loader if tools is None else tools.unshuffled(loader)

    def ends(self, loader: Any) -> tuple[Any, Any] | None:
        """See the protocol."""
        tools = tools_of(loader)
        return None if tools is None else tools.ends(loader)

    def with_indices(self, loader: Any) -> Iterator[tuple[Any, Sequence[int]]] | None:
        """See the protocol."""
        tools = tools_of(loader)
        return None if tools is None else tools.with_indices(loader)
