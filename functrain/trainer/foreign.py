"""What objects of others can do, looked for by what they have: protocols, so that each wish stands in one place.

What is ours has base classes instead: `Callback` and those below it, `Logger`.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class MetricsLogger(Protocol):
    """What counts as a logger."""

    def log_metrics(self, metrics: Any, step: Any = ...) -> Any:
        """Record numbers of one moment."""
        ...
