"""A step as a function computes the very bits of the Trainer, in both worlds."""
