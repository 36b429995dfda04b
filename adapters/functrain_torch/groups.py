"""Parameter groups that optimizers get while a run is under way, as from callbacks that unfreeze parts of a module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from functrain.kernel.state import TrainState
from functrain.trainer.errors import CheckpointError
from functrain_torch.optimizers import parameters_of


def counts(optimizers: Sequence[Optimizer]) -> list[int]:
    """Return how many groups each optimizer has."""
    return [len(optimizer.param_groups) for optimizer in optimizers]


def followed(state: TrainState, clear: bool) -> TrainState:
    """Return the state in which every player accumulates the gradients of all parameters that its optimizer has now.

    Args:
        clear: what a parameter has got of earlier steps, in which nobody cleared its gradient, is none of a window.
    """
    known = {id(parameter) for player in state.players for parameter in player.acc.grads}
    for index, player in enumerate(state.players):
        parameters = tuple(parameters_of(player.opt))
        for parameter in parameters:
            if clear and id(parameter) not in known:
                parameter.grad = None
        state = state.with_player(index, player._replace(acc=player.acc._replace(grads=parameters)))
    return state


def add_saved(module: nn.Module, optimizers: Sequence[Optimizer], saved: Mapping[str, Any]) -> None:
    """Give optimizers those groups that the run which wrote a checkpoint had given them on its way.

    Raises:
        CheckpointError: such a group has parameters that the module does not have; names one.
    """
    parameters, made_with = dict(module.named_parameters()), saved.get("groups", ())
    for i, (optimizer, count) in enumerate(zip(optimizers, made_with, strict=False)):
        if len(optimizer.param_groups) != count:
            continue  # it is made otherwise now, which is said where the groups are compared
        for names in saved["parameter_names"][i][count:]:
            missing = [name for name in names if name not in parameters]
            if missing:
                raise CheckpointError(
                    f"its optimizer {i} ({type(optimizer).__name__}) was given a parameter group on the way, with "
                    f"{missing[0]!r}, which {type(module).__name__} does not have."
                )
            optimizer.add_param_group({"params": [parameters[name] for name in names]})
