"""The composition root: gives the Trainer its default callbacks and loggers, which it must not import itself."""

from __future__ import annotations

from functrain.callbacks.defaults import default_callbacks_and_loggers
from functrain.trainer.trainer import Trainer

Trainer.defaults = staticmethod(default_callbacks_and_loggers)

__all__ = ["Trainer"]
