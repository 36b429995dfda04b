"""Types of arguments and results, by the names that scripts write into their signatures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypeAlias, TypedDict

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

STEP_OUTPUT: TypeAlias = Tensor | Mapping[str, Any] | None
"""What a step returns."""

EPOCH_OUTPUT: TypeAlias = list[Any]
"""What `training_epoch_end` and its like get."""

TRAIN_DATALOADERS: TypeAlias = Any
"""Whatever gives batches of training: a loader, or a collection of them."""

EVAL_DATALOADERS: TypeAlias = Any
"""Whatever gives batches of an evaluation: a loader, or several."""

LRSchedulerTypeUnion: TypeAlias = LRScheduler | ReduceLROnPlateau
LRSchedulerTypeTuple = (LRScheduler, ReduceLROnPlateau)
LRSchedulerType: TypeAlias = type[LRScheduler] | type[ReduceLROnPlateau]
LRSchedulerPLType: TypeAlias = LRSchedulerTypeUnion


class LRSchedulerConfigType(TypedDict):
    """A scheduler with what says when it steps."""

    scheduler: LRSchedulerTypeUnion
    name: NotRequired[str | None]
    interval: NotRequired[str]
    frequency: NotRequired[int]
    reduce_on_plateau: NotRequired[bool]
    monitor: NotRequired[str | None]
    strict: NotRequired[bool]


class OptimizerConfig(TypedDict):
    """An optimizer alone."""

    optimizer: Optimizer


class OptimizerLRSchedulerConfig(TypedDict):
    """An optimizer with its scheduler."""

    optimizer: Optimizer
    lr_scheduler: LRSchedulerTypeUnion | LRSchedulerConfigType
    monitor: NotRequired[str]


OptimizerLRScheduler: TypeAlias = (
    Optimizer
    | Sequence[Optimizer]
    | tuple[Sequence[Optimizer], Sequence[LRSchedulerTypeUnion | LRSchedulerConfigType]]
    | OptimizerConfig
    | OptimizerLRSchedulerConfig
    | Sequence[OptimizerConfig]
    | Sequence[OptimizerLRSchedulerConfig]
    | None
)
"""What `configure_optimizers` returns."""

NUMBER: TypeAlias = int | float
METRIC: TypeAlias = Any
"""What may be logged: a number, a tensor, a metric object."""

EVALUATE_OUTPUT: TypeAlias = list[Mapping[str, float]]
PREDICT_OUTPUT: TypeAlias = list[Any] | list[list[Any]]
PATH: TypeAlias = str | os.PathLike[str]
MAP_LOCATION: TypeAlias = Any
