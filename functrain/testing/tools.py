"""What the checks ask of a framework, and which adapter answers for which class of modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

from functrain.trainer.functional import Step


class Tools(Protocol):
    """What the checks ask of a framework."""

    def functional(self, module: Any, flags: Mapping[str, Any]) -> Step:
        """Return the `Step` of a module, which keeps old states alive."""
        ...

    def precise(self) -> AbstractContextManager[Mapping[str, Any]]:
        """Within it a step can be made that computes in double precision, with the flags that are returned."""
        ...

    def arrays(self, state: Any, whole: bool = False) -> dict[str, np.ndarray]:
        """Return copies of all parameters and of what the forward pass changes, by path.

        Args:
            whole: what the optimizers keep too, by `optimizer 0: <its name for it>`.
        """
        ...

    def gradients(self, state: Any) -> Sequence[dict[str, np.ndarray | None]]:
        """Return the gradient sums of the open windows, one dict a player: all that it moves, by path; nothing where
        the player's window is empty."""
        ...

    def frozen(self, module: Any) -> frozenset[str]:
        """Return the paths of the parameters of which the module itself says that they are not trained."""
        ...

    def unmoved(self, state: Any) -> Sequence[str]:
        """Return the paths of the trainable parameters that no optimizer moves, and of which the module does not say
        that none is to."""
        ...

    def with_values(self, state: Any, values: Mapping[str, np.ndarray]) -> Any:
        """Return another state, with these values of parameters by path."""
        ...

    def attributes(self, module: Any, state: Any) -> dict[str, Any]:
        """Return the attributes which a step of this module could write and that are no state, by name."""
        ...

    def reloaded(self, step: Step, state: Any, path: str) -> Any:
        """Write a state as a checkpoint, and return what `step.load` reads."""
        ...

    def evaluating(self, module: Any) -> AbstractContextManager[None]:
        """Within it the module's networks are in evaluation mode, and nothing is differentiated; afterwards the module
        is as it was."""
        ...

    def taken_apart(self, tree: Any) -> tuple[list[np.ndarray], Callable[[Sequence[np.ndarray]], Any]]:
        """Return the arrays in a batch or an output, and what makes such a one of others."""
        ...

    def given(self, batch: Any) -> Any:
        """Return a batch of numpy arrays as a loader of this framework gives it."""
        ...

    def spread(self, law: str, tree: Any, devices: int, samples: int | None) -> Any:
        """Return a tree of arrays on so many devices: those with so many samples a part on each, all others whole.

        Raises:
            NothingToCheck: there are fewer devices; says what is missing.
        """
        ...


def double_step(tools: Tools, module: Any, batch: Any, flags: Mapping[str, Any]) -> Step | None:
    """Return the step with flags of double precision; None where a layer holds on to single precision."""
    try:
        step = tools.functional(module, flags)
        step.step(step.init(seed=0), batch)
    except (TypeError, ValueError, RuntimeError):
        return None
    return step


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
