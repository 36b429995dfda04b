"""Arguments of hooks and steps by their older names: `def training_step(self, batch, batch_nb)`."""

from __future__ import annotations

from functrain.trainer.signatures import also_known_as


def register() -> None:
    """Have parameters of older names get their arguments."""
    also_known_as(
        {
            "batch_nb": "batch_idx",
            "optimizer_i": "optimizer_idx",
            "second_order_closure": "optimizer_closure",
            "current_epoch": "epoch",
            "dataset_idx": "dataloader_idx",
            "hidden": "hiddens",
        }
    )
