"""Runs within a run."""
