"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.callbacks.prediction_writer import BasePredictionWriter as BasePredictionWriter
from functrain.callbacks.prediction_writer import WriteInterval as WriteInterval

__all__ = [
    "BasePredictionWriter",
    "WriteInterval",
]
