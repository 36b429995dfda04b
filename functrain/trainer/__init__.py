"""The imperative shell: one Trainer for every adapter.

Drives the kernel through an adapter's engine; imports no framework.
"""
