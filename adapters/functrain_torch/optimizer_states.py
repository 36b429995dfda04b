"""Optimizers' states in a checkpoint: whose each is, by the parameters' names, whatever their order now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from functrain.trainer.errors import CheckpointError

Names = list[list[str | None]]


def parameter_names(module: nn.Module, optimizer: Optimizer) -> Names:
    """By parameter group: the names in the module; None for a parameter that is not the module's."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return [[names.get(id(parameter)) for parameter in group["params"]] for group in optimizer.param_groups]


def order(saved: Names, own: Names, which: str) -> list[int]:
    """Where each of the optimizer's parameters stood among those of the checkpoint.

    Args:
        which: the optimizer, for messages.

    Raises:
        CheckpointError: the groups have other parameters; names them.
    """
    places: list[int] = []
    for i, (then, now) in enumerate(zip(saved, own, strict=True)):
        found = dict(zip(_told_apart(then), range(len(places), len(places) + len(then)), strict=True))
        names = _told_apart(now)
        missing, extra = [name for name in names if name not in found], [name for name in found if name not in names]
        if missing or extra:
            group = f", parameter group {i}" if len(own) > 1 else ""
            parts = [("it has no state of", missing), ("it has one of", extra)]
            differs = "; ".join(f"{what} {', '.join(some[:5])}" for what, some in parts if some)
            raise CheckpointError(
                f"its {which}{group} is of other parameters: {differs}. Give the optimizer the same parameters in the "
                "same groups, or load the weights alone with load_from_checkpoint."
            )
        places += [found[name] for name in names]
    return places


def _told_apart(names: Sequence[str | None]) -> list[str]:
    """The names; parameters without one are known by their place among such."""
    unnamed = 0
    told: list[str] = []
    for name in names:
        told.append(f"parameter {unnamed} without a name" if name is None else name)
        unnamed += name is None
    return told


def ordered(state: Mapping[str, Any], places: Sequence[int]) -> dict[str, Any]:
    """An optimizer's `state_dict` with the parameters' states where the parameters stand now."""
    if list(places) == list(range(len(places))):
        return dict(state)
    moved = {now: state["state"][then] for now, then in enumerate(places) if then in state["state"]}
    return {**state, "state": {**{k: v for k, v in state["state"].items() if not isinstance(k, int)}, **moved}}
