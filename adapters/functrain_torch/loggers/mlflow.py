"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.loggers import MLFlowLogger as MLFlowLogger

__all__ = [
    "MLFlowLogger",
]
