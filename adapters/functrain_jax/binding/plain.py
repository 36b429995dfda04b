"""Trees of arrays as they are: `self.params`, which is trained, and `self.vars`, which a step may replace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from functrain_jax.binding.protocol import Binding, Trees
from functrain_jax.binding.trees import identical
from functrain_jax.loops import arrays

TRAINED, CHANGED = "params", "vars"


class PlainBinding(Binding):
    """See `Binding`."""

    @classmethod
    def claims(cls, name: str, value: Any) -> bool:
        return name in (TRAINED, CHANGED) and value is not None

    def split(self, held: Mapping[str, Any]) -> tuple[Trees, Trees]:
        params = {name: held[name] for name in self.names if name == TRAINED}
        return params, {name: held[name] for name in self.names if name == CHANGED}

    def collect(self) -> tuple[Trees, Trees]:
        params, vars_ = super().collect()
        return {k: arrays(v) for k, v in params.items()}, {k: arrays(v) for k, v in vars_.items()}

    def joined(self, params: Trees, vars_: Trees, dtype: Any) -> dict[str, Any]:
        # A tree of their own, since a step may put other leaves into it.
        return {name: jax.tree.map(lambda x: x, (params | vars_)[name]) for name in self.names}

    def publish(self, params: Trees, vars_: Trees) -> None:
        for name in self.names:
            setattr(self.module, name, (params | vars_)[name])

    def published(self, params: Trees, vars_: Trees) -> bool:
        held = vars(self.module)
        return all(identical(held[name], (params | vars_)[name]) for name in self.names)
