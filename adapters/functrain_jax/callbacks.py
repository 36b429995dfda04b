"""functrain's callbacks under this adapter's name: `from functrain_jax.callbacks import ModelCheckpoint`."""

from functrain.callbacks import *  # noqa: F403
from functrain.callbacks import __all__ as __all__
