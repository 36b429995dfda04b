"""Optimizers in a checkpoint: whose each state is, by the parameters' names, whatever their order now; with which
options they were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from functrain.trainer.errors import CheckpointError
from functrain_torch.optimizers import Configured

Names = list[list[str | None]]


def parameter_names(module: nn.Module, optimizer: Optimizer) -> Names:
    """By parameter group: the names in the module; None for a parameter that is not the module's."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return [[names.get(id(parameter)) for parameter in group["params"]] for group in optimizer.param_groups]


def order(saved: Names, own: Names, which: str) -> list[int]:
    """Return where each of the optimizer's parameters stood among those of the checkpoint.

    Args:
        which: the optimizer, for messages.

    Raises:
        CheckpointError: the groups have other parameters; names them.
    """
    places: list[int] = []
    for i, (then, now) in enumerate(zip(saved, own, strict=True)):
        found = dict(zip(_distinct(then), range(len(places), len(places) + len(then)), strict=True))
        names = _distinct(now)
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


def _distinct(names: Sequence[str | None]) -> list[str]:
    """Return the names; parameters without one are known by their place among such."""
    unnamed = 0
    told: list[str] = []
    for name in names:
        told.append(f"parameter {unnamed} without a name" if name is None else name)
        unnamed += name is None
    return told


def ordered(state: Mapping[str, Any], places: Sequence[int]) -> dict[str, Any]:
    """Return an optimizer's `state_dict` with the parameters' states where the parameters stand now."""
    if list(places) == list(range(len(places))):
        return dict(state)
    moved = {now: state["state"][then] for now, then in enumerate(places) if then in state["state"]}
    return {**state, "state": {**{k: v for k, v in state["state"].items() if not isinstance(k, int)}, **moved}}


MOVING = ("params", "param_names", "initial_lr", "last_epoch", "base_lrs", "best", "num_bad_epochs", "cooldown_counter")
"""Entries of optimizers and schedulers that are no options, or say one twice."""


def options(configured: Configured) -> dict[str, str]:
    """Return what optimizers and schedulers were made with, as text: `load_state_dict` takes the checkpoint's
    instead."""
    found: dict[str, str] = {}
    for i, optimizer in enumerate(configured.optimizers):
        for j, group in enumerate(optimizer.param_groups):
            where = f" of group {j}" if len(optimizer.param_groups) > 1 else ""
            found |= _options(group, f"{where} of optimizer {i} ({type(optimizer).__name__})")
    for i, config in enumerate(configured.schedulers):
        found |= _options(config.scheduler.state_dict(), f" of scheduler {i} ({type(config.scheduler).__name__})")
    return found


def timing(configured: Configured) -> dict[str, str]:
    """Return when schedulers step and what they look at, as text: nothing of it is in their states."""
    found: dict[str, str] = {}
    for i, config in enumerate(configured.schedulers):
        of = f" of scheduler {i} ({type(config.scheduler).__name__})"
        found |= {f"interval{of}": config.interval, f"frequency{of}": str(config.frequency)}
        if config.reduce_on_plateau:
            found[f"monitor{of}"] = str(config.monitor)
    return found


def _options(values: Mapping[str, Any], of: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in values.items():
        value = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
        is_told = name not in MOVING and not name.startswith("_") and _is_option(value)
        if is_told:
            found[f"{name}{of}"] = str(dict(value) if isinstance(value, Mapping) else value)
    return found


def _is_option(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_option, value))
    if isinstance(value, Mapping):
        return all(map(_is_option, value.values()))
    return isinstance(value, bool | int | float | str)
