"""Precision policies: what runs in which dtype, and whether the loss is scaled."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch

from functrain.kernel.scale import ScaleRule


class Precision(NamedTuple):
    """One policy.

    Attributes:
        name: as the Trainer's flag says it.
        autocast: the dtype of the operations that autocast lowers; None runs everything in the parameters' dtype.
        dtype: what parameters and floating-point batches are cast to; None leaves them.
        scale: the rule of the loss scale; None for no scaling.
    """

    name: str
    autocast: torch.dtype | None = None
    dtype: torch.dtype | None = None
    scale: ScaleRule | None = None

    def context(self, device_type: str) -> AbstractContextManager[Any]:
        """The context in which the forward pass runs."""
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(device_type, dtype=self.autocast)


POLICIES: dict[str, Precision] = {
    "32": Precision("32"),
    "64": Precision("64", dtype=torch.float64),
    "16": Precision("16", autocast=torch.float16, scale=ScaleRule()),
    "bf16": Precision("bf16", autocast=torch.bfloat16),
}


def precision(flag: Any) -> Precision:
    """The policy of a precision flag: 64, 32, 16, 'bf16', or their longer names such as '16-mixed'.

    Raises:
        ValueError: there is no such policy.
    """
    name = str(flag).removesuffix("-mixed").removesuffix("-true")
    if name not in POLICIES:
        raise ValueError(f"precision={flag!r}: must be one of {', '.join(POLICIES)}.")
    return POLICIES[name]
