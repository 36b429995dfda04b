"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.loggers import TestTubeLogger as TestTubeLogger

__all__ = [
    "TestTubeLogger",
]
