"""The names of precisions. What each of them computes in is the adapters' own."""

from __future__ import annotations

from typing import Any

CANONICAL = {
    "64": "64", "32": "32", "16": "16", "bf16": "bf16",
    "16-mixed": "16", "bf16-mixed": "bf16", "32-true": "32", "64-true": "64",
    "bf16-true": "bf16-true", "16-true": "16-true",
}  # fmt: skip
"""The name that an adapter knows each by."""

FLAGS: tuple[int | str, ...] = (64, 32, 16, *CANONICAL)
"""What the Trainer's flag may be."""


def canonical(precision: Any) -> str:
    """Return '64', '32', '16', 'bf16', 'bf16-true' or '16-true' for any name of a precision.

    Raises:
        ValueError: there is no precision of this name.
    """
    name = CANONICAL.get(str(precision))
    if name is None:
        raise ValueError(f"precision={precision!r}: must be one of {', '.join(CANONICAL)}.")
    return name
