"""functrain for JAX: the step as a function, and modules of flax nnx, linen or plain functions for the
Trainer."""

from functrain_jax.step import Step, make_step

__all__ = ["Step", "make_step"]
