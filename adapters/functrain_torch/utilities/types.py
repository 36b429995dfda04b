"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain_torch.compat.types import EPOCH_OUTPUT as EPOCH_OUTPUT
from functrain_torch.compat.types import EVALUATE_OUTPUT as _EVALUATE_OUTPUT
from functrain_torch.compat.types import EVAL_DATALOADERS as EVAL_DATALOADERS
from functrain_torch.compat.types import LRSchedulerConfigType as LRSchedulerConfigType
from functrain_torch.compat.types import LRSchedulerPLType as LRSchedulerPLType
from functrain_torch.compat.types import LRSchedulerType as LRSchedulerType
from functrain_torch.compat.types import LRSchedulerTypeTuple as LRSchedulerTypeTuple
from functrain_torch.compat.types import LRSchedulerTypeUnion as LRSchedulerTypeUnion
from functrain_torch.compat.types import MAP_LOCATION as _MAP_LOCATION_TYPE
from functrain_torch.compat.types import METRIC as _METRIC
from functrain_torch.compat.types import NUMBER as _NUMBER
from functrain_torch.compat.types import OptimizerConfig as OptimizerConfig
from functrain_torch.compat.types import OptimizerLRScheduler as OptimizerLRScheduler
from functrain_torch.compat.types import OptimizerLRSchedulerConfig as OptimizerLRSchedulerConfig
from functrain_torch.compat.types import PATH as _PATH
from functrain_torch.compat.types import PREDICT_OUTPUT as _PREDICT_OUTPUT
from functrain_torch.compat.types import STEP_OUTPUT as STEP_OUTPUT
from functrain_torch.compat.types import TRAIN_DATALOADERS as TRAIN_DATALOADERS

__all__ = [
    "EPOCH_OUTPUT",
    "EVAL_DATALOADERS",
    "LRSchedulerConfigType",
    "LRSchedulerPLType",
    "LRSchedulerType",
    "LRSchedulerTypeTuple",
    "LRSchedulerTypeUnion",
    "OptimizerConfig",
    "OptimizerLRScheduler",
    "OptimizerLRSchedulerConfig",
    "STEP_OUTPUT",
    "TRAIN_DATALOADERS",
    "_EVALUATE_OUTPUT",
    "_MAP_LOCATION_TYPE",
    "_METRIC",
    "_NUMBER",
    "_PATH",
    "_PREDICT_OUTPUT",
]
