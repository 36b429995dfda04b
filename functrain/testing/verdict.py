"""How a check says that its law is broken, or that it has nothing to look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

import numpy as np

from functrain.testing.values import first_difference


class NothingToCheck(ValueError):
    """A law says nothing of this module or batch, so a check of it would pass whatever they do."""


class OverBatch(AssertionError):
    """A step computes with numbers of its whole batch, as BatchNorm does, so that micro-batches are not the batch. Of
    itself that is no defect."""


def broken(law: str, where: str, cause: str) -> NoReturn:
    """Raise what a check raises."""
    raise AssertionError(f"{law}: {where}. The usual cause: {cause}.")


def nothing(law: str, why: str) -> NoReturn:
    """Raise what a check raises that would be empty."""
    raise NothingToCheck(f"{law}: {why}.")


def same_bits(law: str, what: str, one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray], cause: str) -> None:
    """Have these arrays be equal to the bit, or name the first that is not."""
    difference = first_difference(one, other)
    if difference is not None:
        broken(law, f"{what}: first in {difference}", cause)
