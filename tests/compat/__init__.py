"""Older names."""
