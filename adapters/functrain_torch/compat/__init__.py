"""The room of older generations: names, paths and helpers that scripts import, over the rooms of the present ones.

Nothing outside of it knows an older name; without it there is a Trainer of the present names.

Older module paths (`functrain_torch.utilities.seed`) are files of their own, so that editors and type checkers find
them; `paths.py` says what each holds, and `python -m functrain_torch.compat` writes them.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from functrain_torch.compat import arguments
from functrain_torch.compat.paths import NEED_EXTRAS, PATHS

arguments.register()


def older(package: str, name: str) -> ModuleType:
    """Return an older path below a package of functrain_torch, with all that is in it: `utilities` below '', or
    `early_stopping` below 'callbacks'.

    Raises:
        AttributeError: there is no such path.
    """
    path = f"{package}.{name}" if package else name
    below = [each for each in PATHS if each.startswith(f"{path}.") and each not in NEED_EXTRAS]
    within = [each for each in PATHS if each == path] + below
    if not within:
        owner = f"functrain_torch.{package}" if package else "functrain_torch"
        raise AttributeError(f"module {owner!r} has no attribute {name!r}")
    return [import_module(f"functrain_torch.{each}") for each in reversed(within)][-1]
