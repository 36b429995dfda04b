"""Hypothesis for the laws of digests: the same examples in every run, and no clock."""

from hypothesis import settings

settings.register_profile("digests", derandomize=True, deadline=None, database=None, max_examples=60)
settings.load_profile("digests")
