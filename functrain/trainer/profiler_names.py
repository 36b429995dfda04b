"""Which profiler a word of the flag stands for: asked of those who have registered one. Knows no profiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from functrain.trainer.errors import ConfigurationError, kind
from functrain.trainer.foreign import ActionProfiler

_registered: dict[str, Callable[[], ActionProfiler]] = {}

PACKAGE_OF = {
    "simple": "functrain.profilers",
    "advanced": "functrain.profilers",
    "pytorch": "functrain_torch",
    "jax": "functrain_jax",
    "xla": "functrain_jax",
}
"""Every word, and the package that registers what it stands for when it is imported."""


def register(name: str, make: Callable[[], ActionProfiler]) -> None:
    """Have `Trainer(profiler=name)` be what `make()` returns, a profiler of its own for each Trainer."""
    _registered[name] = make


def check(given: Any) -> None:
    """Raises ConfigurationError where the flag is neither a known word nor a profiler."""
    if given is None or (isinstance(given, ActionProfiler) and not isinstance(given, type)):
        return
    if isinstance(given, type):
        raise ConfigurationError(
            f"Trainer(profiler={given!r}): {given.__name__} is a class; give an instance of it: {given.__name__}(...)."
        )
    words = sorted({*PACKAGE_OF, *_registered})
    if not isinstance(given, str):
        raise ConfigurationError(
            f"Trainer(profiler={given!r}): {kind(given)} is no profiler, which has profile(action_name); give one of "
            f"{', '.join(map(repr, words))}, or a Profiler."
        )
    name = given.lower()
    if name not in words:
        raise ConfigurationError(
            f"Trainer(profiler={given!r}): must be one of {', '.join(map(repr, words))}, or a Profiler."
        )
    if name not in _registered:
        raise ConfigurationError(
            f"Trainer(profiler={given!r}): that one comes with {PACKAGE_OF[name]}, which this program has not "
            "imported; 'simple' and 'advanced' measure modules of every framework."
        )


def find(given: str | ActionProfiler | None) -> ActionProfiler | None:
    """Return the profiler that the flag, which `check` has passed, stands for."""
    return _registered[given.lower()]() if isinstance(given, str) else given
