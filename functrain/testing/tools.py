"""What the checks ask of a framework, and which adapter answers for which class of modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from functrain.trainer.functional import Step


class Tools(Protocol):
    """What the checks ask of a framework."""

    def functional(self, module: Any, flags: Mapping[str, Any]) -> Step:
        """Return the `Step` of a module, which keeps old states alive."""
        ...

    def arrays(self, state: Any) -> dict[str, np.ndarray]:
        """Return copies of all parameters and of what the forward pass changes, by path."""
        ...

    def gradients(self, state: Any) -> dict[str, np.ndarray | None]:
        """Return the gradients of an open window, for what the optimizers that played move, by path."""
        ...

    def attributes(self, module: Any, state: Any) -> dict[str, Any]:
        """Return the plain attributes which a step of this module could write, by name."""
        ...


_known: list[tuple[type, Callable[[], Tools]]] = []


def register(kind: type, tools: Callable[[], Tools]) -> None:
    """Have the modules of this class be checked with these tools, which are made when they are first used."""
    _known.append((kind, tools))


def tools_of(module: Any) -> Tools:
    """Return the tools for this module.

    Raises:
        TypeError: no adapter knows it.
    """
    for kind, make in reversed(_known):
        if isinstance(module, kind):
            return make()
    raise TypeError(f"{module!r} is no module of functrain_torch or functrain_jax: give an instance of one.")
