"""Digests: what two runs are compared by."""
