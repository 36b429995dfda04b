"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.callbacks import LambdaCallback as LambdaCallback

__all__ = [
    "LambdaCallback",
]
