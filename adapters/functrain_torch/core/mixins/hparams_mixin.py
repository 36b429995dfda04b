"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain.trainer.hparams import HyperparametersMixin as HyperparametersMixin

__all__ = [
    "HyperparametersMixin",
]
