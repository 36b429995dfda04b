"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.trainer.states import RunningStage as RunningStage
from functrain.trainer.states import TrainerFn as TrainerFn
from functrain.trainer.states import TrainerState as TrainerState
from functrain.trainer.states import TrainerStatus as TrainerStatus

__all__ = [
    "RunningStage",
    "TrainerFn",
    "TrainerState",
    "TrainerStatus",
]
