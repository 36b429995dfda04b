"""Questions about a module's methods, by their older names."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch

from functrain.trainer.overriding import overrides
from functrain_torch.tree import move


def is_overridden(method_name: str, instance: object = None, parent: type[object] | None = None) -> bool:
    """Return whether an object's class defines a method itself, and not only `parent`, by default a class of ours."""
    if instance is None:
        return False
    if parent is None:
        return overrides(instance, method_name)
    return getattr(type(instance), method_name, None) is not getattr(parent, method_name, None)


def auto_move_data(method: Callable[..., Any]) -> Callable[..., Any]:
    """A module's method whose arguments are moved to the module's device first."""

    @wraps(method)
    def moving(self: Any, *args: Any, **kwargs: Any) -> Any:
        device = torch.device(self.device)
        return method(self, *move(args, device), **move(kwargs, device))

    return moving
