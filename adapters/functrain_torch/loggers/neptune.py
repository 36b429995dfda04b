"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.loggers import NeptuneLogger as NeptuneLogger

__all__ = [
    "NeptuneLogger",
]
