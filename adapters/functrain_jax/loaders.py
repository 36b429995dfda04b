"""What the JAX engine knows of loaders: sequences of batches, and torch's DataLoader where torch is in use
anyway.

Imports no torch by itself: a user's torch loader is served by the torch adapter, once torch is loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from functrain.trainer.errors import ConfigurationError


def torch_tools(loader: Any) -> Any | None:
    """The torch adapter's functions for loaders, where this is a loader of torch; else None."""
    torch_data = sys.modules.get("torch.utils.data")
    if torch_data is None or not isinstance(loader, torch_data.DataLoader):
        return None
    return import_module("functrain_torch.data")


def register_torch() -> None:
    """Have torch's generators seeded and kept in checkpoints, where a loader may shuffle with them."""
    if "torch.utils.data" in sys.modules:
        import_module("functrain_torch.rng").register()


class Loaders:
    """The part of an engine that knows loaders; see `functrain.trainer.data.LoaderTools`."""

    def skip(self, loader: Any, n: int) -> Iterator[Any] | None:
        """An iterator over all but the first n batches that reads none of them; None where that is not known
        how."""
        tools = torch_tools(loader)
        if tools is not None:
            return tools.skip(loader, n)
        if isinstance(loader, Sequence):
            return (loader[i] for i in range(n, len(loader)))
        return None

    def loader_rng(self, loader: Any) -> Any | None:
        """The state of generators that belong to the loader alone, as plain values; None where it has
        none."""
        tools = torch_tools(loader)
        states = None if tools is None else tools.loader_rng(loader)
        return None if states is None else [state.numpy() for state in states]

    def set_loader_rng(self, loader: Any, state: Any) -> None:
        """Take `loader_rng` back."""
        tools = torch_tools(loader)
        if tools is None:
            raise ConfigurationError(
                "the checkpoint holds the random state of a torch DataLoader, and the loader is a "
                f"{type(loader).__name__}."
            )
        from_numpy = sys.modules["torch"].from_numpy
        tools.set_loader_rng(loader, [from_numpy(s.copy()) for s in state])

    def unshuffled(self, loader: Any) -> Any:
        """The same loader in a fixed order."""
        tools = torch_tools(loader)
        return loader if tools is None else tools.unshuffled(loader)
