"""How far the host may run ahead of the device."""

from __future__ import annotations

from collections import deque

import jax

IN_FLIGHT = 2
"""Dispatches that may be under way before the host waits for the oldest."""


class Throttle:
    """Keeps a few dispatches under way: enough that the device never waits, few enough that their buffers fit."""

    def __init__(self) -> None:
        self.tokens: deque[jax.Array] = deque()

    def add(self, token: jax.Array) -> None:
        """A dispatch has begun, of whose results `token` is one. Waits for the oldest where too many are under way."""
        self.tokens.append(token)
        if len(self.tokens) > IN_FLIGHT:
            self.tokens.popleft().block_until_ready()

    def clear(self) -> None:
        """Forget the dispatches under way, without waiting for them."""
        self.tokens.clear()
