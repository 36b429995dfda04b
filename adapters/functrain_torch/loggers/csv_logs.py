"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.loggers import CSVLogger as CSVLogger

__all__ = [
    "CSVLogger",
]
