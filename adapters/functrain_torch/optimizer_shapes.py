"""Do the tensors of an optimizer's state in a checkpoint have the shapes that torch's own optimizers give them?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import LBFGS, Optimizer

from functrain.trainer.errors import CheckpointError, kind
from functrain_torch.optimizer_states import Names

SCALARS = frozenset(("step", "eta", "mu", "mu_product"))
FLAT = ("d", "prev_flat_grad", "old_dirs", "old_stps")


def check_shapes(state: Mapping[str, Any], optimizer: Optimizer, names: Names, which: str) -> None:
    """Look at a `state_dict`, its parameters in the optimizer's order. Other optimizers than torch's own may keep what
    they like.

    Args:
        which: the optimizer, for messages.

    Raises:
        CheckpointError: a shape is another; names the parameter and both.
    """
    if not type(optimizer).__module__.startswith("torch.optim"):
        return
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    known = [name for group in names for name in group]
    for i, parameter in enumerate(parameters):
        for key, value, shape in _expected(state["state"].get(i, {}), optimizer, parameters, parameter):
            found = tuple(value.shape) if isinstance(value, Tensor) else None
            is_scalar = found is None or value.numel() == 1
            fits = found == shape or (shape == () and is_scalar)
            if fits:
                continue
            holds = kind(value) if found is None else f"a tensor of shape {found}"
            raise CheckpointError(
                f"the state of its {which} holds {holds} as {key!r} of parameter {known[i] or i!r}, where one of "
                f"shape {shape} is needed; was it changed after it was written?"
            )


def _expected(
    state: Mapping[str, Any], optimizer: Optimizer, parameters: list[Tensor], parameter: Tensor
) -> Iterator[tuple[str, Any, tuple[int, ...]]]:
    """Yield every value of a parameter's state whose shape can be known, by its key, and that shape."""
    if isinstance(optimizer, LBFGS):
        if not any(map(torch.is_complex, parameters)):
            size = (sum(p.numel() for p in parameters),)
            for key in FLAT:
                value = state.get(key)
                parts = value if isinstance(value, list) else [value]
                yield from ((key, part, size) for part in parts if part is not None)
        return
    shape = tuple(parameter.shape)
    factors = {"row_var": (*shape[:-1], 1), "col_var": (*shape[:-2], 1, *shape[-1:])}
    for key, value in state.items():
        if value is not None:
            yield key, value, () if key in SCALARS else factors.get(key, shape)
