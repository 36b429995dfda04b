"""The checkpoints of pytorch_lightning, which a torch run continues from, and which its own are read as."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from functrain_torch import from_lightning, to_lightning
from functrain_torch.lightning_names import is_lightning
from functrain_torch.snapshot import Holder


class LightningCheckpoints:
    """See `functrain.trainer.adapter.OtherCheckpoints`."""

    def __init__(self, engine: Holder) -> None:
        self.engine = engine

    def adopt(self, saved: dict[str, Any]) -> dict[str, Any]:
        return from_lightning.adopted(self.engine, saved) if is_lightning(saved) else saved

    def named(self, checkpoint: Mapping[str, Any]) -> dict[str, Any]:
        return to_lightning.named(self.engine, checkpoint)
