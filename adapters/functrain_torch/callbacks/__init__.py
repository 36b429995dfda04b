"""functrain's callbacks under this adapter's name, and those that know torch: `from functrain_torch.callbacks import
ModelCheckpoint`."""

from functrain import callbacks as neutral
from functrain.callbacks import *  # noqa: F403
from functrain_torch.callbacks.finetuning import BackboneFinetuning, BaseFinetuning

__all__ = ["BackboneFinetuning", "BaseFinetuning"]
__all__ += neutral.__all__
