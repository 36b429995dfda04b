"""functrain's callbacks under this adapter's name, and those that know torch: `from functrain_torch.callbacks import
ModelCheckpoint`."""

from functrain import callbacks as neutral
from functrain.callbacks import *  # noqa: F403
from functrain_torch.callbacks.finetuning import BackboneFinetuning, BaseFinetuning
from functrain_torch.callbacks.gpu_stats_monitor import GPUStatsMonitor
from functrain_torch.callbacks.pruning import ModelPruning
from functrain_torch.callbacks.stochastic_weight_avg import StochasticWeightAveraging

__all__ = ["BackboneFinetuning", "BaseFinetuning", "GPUStatsMonitor", "ModelPruning", "StochasticWeightAveraging"]
__all__ += neutral.__all__
