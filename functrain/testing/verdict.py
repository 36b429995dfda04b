"""How a check says that its law is broken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

import numpy as np


def broken(law: str, where: str, cause: str) -> NoReturn:
    """Raise what a check raises."""
    raise AssertionError(f"{law}: {where}. The usual cause: {cause}.")


def same_bits(law: str, what: str, one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray], cause: str) -> None:
    """Have these arrays be equal to the bit, or name the first that is not."""
    for path, array in one.items():
        now = other[path]
        if array.tobytes() != now.tobytes():
            apart = np.abs(np.asarray(array, np.float64) - np.asarray(now, np.float64)).max()
            broken(law, f"{what}: first in {path} {array.shape}, by up to {apart:.3g}", cause)
