"""Warnings by their older names: the categories that scripts filter by, and functions that warn."""

from __future__ import annotations

import warnings
from typing import Any

from functrain.trainer.errors import OlderNameWarning
from functrain.trainer.world import rank_zero_only

LightningDeprecationWarning = OlderNameWarning


class PossibleUserWarning(UserWarning):
    """What a user may have meant otherwise."""


@rank_zero_only
def rank_zero_warn(message: str | Warning, category: Any = UserWarning, stacklevel: int = 4, **kwargs: Any) -> None:
    """Warn from process 0; `stacklevel` counts from here, as if this function were a part of `warnings.warn`."""
    warnings.warn(message, category=category, stacklevel=max(stacklevel - 1, 2), **kwargs)


@rank_zero_only
def rank_zero_deprecation(message: str, stacklevel: int = 5, **kwargs: Any) -> None:
    """Warn of an older name from process 0."""
    warnings.warn(message, category=LightningDeprecationWarning, stacklevel=max(stacklevel - 2, 2), **kwargs)


class WarningCache(set[str]):
    """Warnings that were given already: each text comes once."""

    def warn(self, message: str, stacklevel: int = 5, **kwargs: Any) -> None:
        """Warn, unless that was said before."""
        if message not in self:
            self.add(message)
            rank_zero_warn(message, stacklevel=stacklevel, **kwargs)

    def deprecation(self, message: str, stacklevel: int = 5, **kwargs: Any) -> None:
        """Warn of an older name, unless that was said before."""
        if message not in self:
            self.add(message)
            rank_zero_deprecation(message, stacklevel=stacklevel, **kwargs)

    def info(self, message: str) -> None:
        """Print, unless that was said before."""
        if message not in self:
            self.add(message)
            rank_zero_info(message)


@rank_zero_only
def rank_zero_info(*args: Any, stacklevel: int = 4, **kwargs: Any) -> None:
    """Log at level INFO from process 0."""
    _logger().info(*args, stacklevel=stacklevel, **kwargs)


@rank_zero_only
def rank_zero_debug(*args: Any, stacklevel: int = 4, **kwargs: Any) -> None:
    """Log at level DEBUG from process 0."""
    _logger().debug(*args, stacklevel=stacklevel, **kwargs)


def _logger() -> Any:
    import logging

    return logging.getLogger("functrain_torch")
