"""Precision policies: what runs in which dtype, and whether the loss is scaled."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from functrain.kernel.scale import ScaleRule
from functrain.trainer.precisions import canonical


class Precision(NamedTuple):
    """One policy.

    Attributes:
        name: as the Trainer's flag says it.
        autocast: the dtype of the operations that autocast lowers; None runs everything in the parameters' dtype.
        dtype: what parameters and floating-point batches are cast to, and new tensors are made of; None leaves them.
        scale: the rule of the loss scale; None for no scaling.
    """

    name: str
    autocast: torch.dtype | None = None
    dtype: torch.dtype | None = None
    scale: ScaleRule | None = None

    def context(self, device_type: str, keep_casts: bool = True) -> AbstractContextManager[Any]:
        """Return the context in which the forward pass runs.

        Args:
            keep_casts: a weight that is used again is not cast again. No other way to change weights than by an
                optimizer is seen, so this is for blocks in which they stay as they are.
        """
        if self.autocast is None:
            return nullcontext() if self.dtype is None else _DefaultType(self.dtype)
        return torch.autocast(device_type, dtype=self.autocast, cache_enabled=keep_casts)


class _DefaultType:
    """Within it tensors are made of this dtype, where they are not told another."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.before = dtype

    def __enter__(self) -> None:
        self.before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)

    def __exit__(self, *_: object) -> None:
        torch.set_default_dtype(self.before)


POLICIES: dict[str, Precision] = {
    "32": Precision("32"),
    "64": Precision("64", dtype=torch.float64),
    "16": Precision("16", autocast=torch.float16, scale=ScaleRule()),
    "bf16": Precision("bf16", autocast=torch.bfloat16),
    "bf16-true": Precision("bf16-true", dtype=torch.bfloat16),
    "16-true": Precision("16-true", dtype=torch.float16),
}


def precision(flag: Any) -> Precision:
    """Return the policy of a precision flag: 64, 32, 16, 'bf16', or one of the longer names such as '16-mixed'.

    Raises:
        ValueError: there is no such policy.
    """
    return POLICIES[canonical(flag)]


class UpdatesOutside:
    """Steps of optimizers within autocast, done as if outside of it: at full precision, but for a closure.

    Args:
        context: makes the autocast of a forward pass.
    """

    def __init__(self, context: Callable[[], AbstractContextManager[Any]], device_type: str) -> None:
        self.context, self.device_type = context, device_type
        self.before: list[bool] = []

    def register(self) -> tuple[Any, Any]:
        """Look after every optimizer's step from now on. Returns the handles that end it."""
        return register_optimizer_step_pre_hook(self._begin), register_optimizer_step_post_hook(self._end)

    def _begin(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.before.append(torch.is_autocast_enabled(self.device_type))
        torch.set_autocast_enabled(self.device_type, False)
        # The first of the arguments is the optimizer itself.
        if len(args) > 1 and callable(args[1]):
            args = (args[0], self._within(args[1]), *args[2:])
        elif callable(kwargs.get("closure")):
            kwargs = {**kwargs, "closure": self._within(kwargs["closure"])}
        return args, kwargs

    def _within(self, closure: Callable[[], Any]) -> Callable[[], Any]:
        def evaluate() -> Any:
            with self.context():
                return closure()

        return evaluate

    def _end(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        torch.set_autocast_enabled(self.device_type, self.before.pop())
