"""The tools of `functrain.testing` for modules of JAX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from functrain_jax.keys import is_key
from functrain_jax.module_step import functional

PLAIN = (bool, int, float, str, type(None))


def _named(tree: Any) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {
        ".".join(str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key)))) for key in path): np.array(
            leaf
        )
        for path, leaf in leaves
        if not is_key(leaf)
    }


class JaxTools:
    """What the checks ask of JAX. A state is a tree; the module is never written by the step itself."""

    def functional(self, module: Any, flags: Mapping[str, Any]) -> Any:
        return functional(module, donate=False, **flags)

    def arrays(self, state: Any) -> dict[str, np.ndarray]:
        return {**_named(state.params), **_named({"vars": state.vars})}

    def gradients(self, state: Any) -> dict[str, np.ndarray | None]:
        played = [player.acc.grads for player in state.players if int(player.acc.count)]
        return {path: grad for grads in played for path, grad in _named(grads).items()}

    def attributes(self, module: Any, state: Any) -> dict[str, Any]:
        plain = {name: value for name, value in vars(module).items() if isinstance(value, PLAIN)}
        return {name: value for name, value in plain.items() if not name.startswith("_")}
