"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.loggers import TensorBoardLogger as TensorBoardLogger

__all__ = [
    "TensorBoardLogger",
]
