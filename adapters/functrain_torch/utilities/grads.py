"""An older path of modules. See `functrain_torch.compat.paths`."""

# ruff: noqa

from functrain_torch.compat.grads import grad_norm as grad_norm

__all__ = [
    "grad_norm",
]
