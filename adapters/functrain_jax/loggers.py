"""functrain's loggers under this adapter's name: `from functrain_jax.loggers import TensorBoardLogger`."""

from functrain.loggers import *  # noqa: F403
from functrain.loggers import __all__ as __all__
