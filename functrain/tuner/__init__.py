"""Learning rates and batch sizes found by short fits, which leave no trace."""

from __future__ import annotations

from functrain.tuner.lr_find import LRFinder
from functrain.tuner.tuner import Tuner

__all__ = ["LRFinder", "Tuner"]
