"""The tuner, in both worlds."""
