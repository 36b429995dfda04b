"""functrain's callbacks under this adapter's name, and those that know torch: `from functrain_torch.callbacks import
ModelCheckpoint`."""

from types import ModuleType

from functrain import callbacks as neutral
from functrain.callbacks import *  # noqa: F403
from functrain_torch.callbacks.finetuning import BackboneFinetuning, BaseFinetuning
from functrain_torch.callbacks.gpu_stats_monitor import GPUStatsMonitor
from functrain_torch.callbacks.pruning import ModelPruning
from functrain_torch.callbacks.stochastic_weight_avg import StochasticWeightAveraging
from functrain_torch.compat import older
from functrain_torch.compat.callbacks import LearningRateLogger

__all__ = [
    "BackboneFinetuning",
    "BaseFinetuning",
    "GPUStatsMonitor",
    "LearningRateLogger",
    "ModelPruning",
    "StochasticWeightAveraging",
]
__all__ += neutral.__all__


def __getattr__(name: str) -> ModuleType:
    """Import an older path where one is asked for."""
    return older("callbacks", name)
