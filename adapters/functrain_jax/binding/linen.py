"""flax linen modules as nnx modules, whose statistics update and whose dropout draws while they train."""

from __future__ import annotations

from typing import Any

import jax
from flax import linen, nnx
from flax.nnx import variablelib

from functrain_jax.keys import STREAM, key_of


class LinenModule(nnx.bridge.ToNNX):
    """A linen module with its variables, as `from_linen` makes it. Call it with the linen module's own
    arguments.

    In training mode every collection but 'params' may change, as if called with `mutable=...`; in evaluation
    mode none does. `train()` and `eval()` of any module that holds it switch between the two.
    """

    def __init__(self, module: linen.Module, rngs: nnx.Rngs) -> None:
        super().__init__(module, rngs=rngs)
        self.to_nnx__training = True

    @property
    def deterministic(self) -> bool:
        """True in evaluation mode: the name by which flax switches modes."""
        return not self.to_nnx__training

    def _setattr(self, name: str, value: Any) -> None:
        if name == "deterministic":
            name, value = "to_nnx__training", not value
        super()._setattr(name, value)

    def __call__(self, *args: Any, mutable: Any = None, **kwargs: Any) -> Any:
        """Return the linen module's `__call__`, or the method named by `method`."""
        if mutable is None and not self._pytree__state.initializing:
            mutable = self._collections() if self.to_nnx__training else False
        return super().__call__(*args, mutable=mutable, **kwargs)

    def _collections(self) -> Any:
        kinds = {type(v) for _, v in nnx.to_flat_state(nnx.state(self)) if not isinstance(v, nnx.RngState)}
        names = {variablelib.variable_name_from_type(kind) for kind in kinds}
        return sorted(names - {"params"}) or False


def from_linen(module: linen.Module, *example_inputs: Any, rng: Any = None, **kwargs: Any) -> LinenModule:
    """Return an nnx module that behaves as the linen module, with variables initialized for inputs like the examples.

    Args:
        module: the linen module.
        example_inputs: arguments for its `__call__`; only shapes and types of arrays matter.
        rng: a key or an int for parameters and dropout; default: the next one of the seeded stream.
        kwargs: further arguments for its `__call__`, such as train=False.
    """
    key = STREAM.next() if rng is None else key_of(rng)
    params, dropout = jax.random.split(key)
    bridged = LinenModule(module, nnx.Rngs(params=params, dropout=dropout))
    nnx.bridge.lazy_init(bridged, *example_inputs, **kwargs)
    return bridged
