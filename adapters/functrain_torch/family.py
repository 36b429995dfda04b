"""A module and the modules within it, which log into the same run and see the same position."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from functrain.trainer.context import Context
from functrain.trainer.module import ModuleBase, give_back, set_context
from functrain_torch.module import LightningModule


class Family:
    """The module and those within it that can log.

    Attributes:
        children: those within it.
    """

    def __init__(self, module: LightningModule) -> None:
        self.module = module
        self.children = [part for part in module.modules() if isinstance(part, ModuleBase) and part is not module]
        self.context: Context | None = None

    def look_at(self, context: Context | None) -> None:
        """Read the position from, and log into this; None for nobody's."""
        self.context = context
        for part in (self.module, *self.children):
            set_context(part, context)

    def give_back(self, trainer: Any, context: Context | None) -> None:
        """The run is over; they are those of the run around it again, or nobody's."""
        self.context = context
        for part in (self.module, *self.children):
            give_back(part, trainer, context)

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Within it nothing is logged."""
        before = self.context
        self.look_at(None if before is None else before.silenced())
        try:
            yield
        finally:
            self.look_at(before)
