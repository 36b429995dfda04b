"""Runs of several real processes."""
