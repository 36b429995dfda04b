"""functrain's callbacks under this adapter's name: `from functrain_torch.callbacks import ModelCheckpoint`."""

from functrain.callbacks import *  # noqa: F403
from functrain.callbacks import __all__ as __all__
