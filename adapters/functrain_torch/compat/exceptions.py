"""Errors by their older names."""

from __future__ import annotations

from functrain.trainer.errors import ConfigurationError

MisconfigurationException = ConfigurationError
"""What every error of a set-up is."""


class DeadlockDetectedException(Exception):
    """Processes of a run wait for one another."""


class ExitGracefullyException(SystemExit):
    """The run has ended on purpose."""
