"""What the numpy adapter knows of loaders: numpy has none of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from functrain.trainer import generators


class NumpyLoaders:
    """See `functrain.trainer.reader.LoaderTools`."""

    loader_rng = staticmethod(generators.loader_rng)
    set_loader_rng = staticmethod(generators.set_loader_rng)

    def skip(self, loader: Any, n: int, opened: Callable[[], object] | None = None) -> Iterator[Any] | None:
        return None

    def shuffles(self, loader: Any) -> bool:
        return False

    def unshuffled(self, loader: Any) -> Any:
        return loader

    def ends(self, loader: Any) -> tuple[Any, Any] | None:
        return None

    def with_indices(self, loader: Any) -> Iterator[tuple[Any, Sequence[int]]] | None:
        return None
