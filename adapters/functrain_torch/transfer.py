"""A batch's way to the device, with the hooks around it; nothing where there is nothing to do."""

from __future__ import annotations

from typing import Any

import torch

from functrain.trainer import module_hooks
from functrain.trainer.hooks import Hooks
from functrain.trainer.overriding import default
from functrain_torch.tree import move


class TransferHooks(module_hooks.TransferHooks):
    """A batch's way to the device, for modules and data modules to override. A data module's stand for the module's."""

    @default
    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int = 0) -> Any:
        """Return the batch, moved to the device."""
        return move(batch, device)


class Transfer:
    """`transfer(batch, dataloader_idx)`.

    Attributes:
        idle: on the CPU, in the parameters' own dtype and without hooks there is nothing to move.
    """

    def __init__(self, hooks: Hooks, device: torch.device, dtype: torch.dtype | None) -> None:
        self.before = hooks.on_before_batch_transfer
        self.own = hooks.transfer_batch_to_device
        self.after = hooks.on_after_batch_transfer
        self.device = device
        self.dtype = dtype
        hooked = any(hook is not None for hook in (self.before, self.own, self.after))
        self.idle = device.type == "cpu" and dtype is None and not hooked

    def __call__(self, batch: Any, loader_idx: int) -> Any:
        if self.before is not None:
            batch = self.before(batch, loader_idx)
        if self.own is not None:
            batch = self.own(batch, self.device, loader_idx)
        batch = move(batch, self.device, self.dtype) if self.own is None or self.dtype is not None else batch
        return batch if self.after is None else self.after(batch, loader_idx)
