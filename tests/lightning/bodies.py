"""Modules of one body and two base classes, pytorch_lightning's and ours, which record their weights as they train."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning
import torch
from pytorch_lightning import callbacks as their_callbacks
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, OneCycleLR, ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader, TensorDataset

import functrain_torch
from functrain import callbacks as our_callbacks

# It talks of its devices at every run.
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)

BATCHES = 6
EPOCHS = 3

Weights = dict[tuple[int, int], torch.Tensor]
"""By epoch and batch: all weights after the batch."""


def loader() -> Any:
    """The same batches in the same order, every time."""
    x = torch.randn(BATCHES * 4, 3, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(x), batch_size=4, collate_fn=lambda rows: torch.stack([x for (x,) in rows]))


class Told:
    """The loader, which tells where it stands: pytorch_lightning begins any other anew where a run goes on."""

    def __init__(self) -> None:
        self.batches = list(loader())
        self.first = self.now = 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Any:
        first, self.first = self.first, 0
        for i in range(first, len(self)):
            self.now = i + 1
            yield self.batches[i]
        self.now = 0

    def state_dict(self) -> dict[str, Any]:
        return {"now": self.now}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.first = state_dict["now"] % len(self)


if TYPE_CHECKING:
    Base = functrain_torch.LightningModule
else:
    Base = object


class Body(Base):
    """A regression with Adam and a schedule by epoch."""

    seen: Weights

    def __init__(self, lr: float = 0.1, width: int = 4) -> None:
        super().__init__()
        self.save_hyperparameters()
        generator = torch.Generator().manual_seed(0)
        self.first, self.last = torch.nn.Linear(3, width), torch.nn.Linear(width, 1)
        for p in self.parameters():
            p.data = torch.randn(p.shape, generator=generator) / 2
        self.seen = {}

    def loss(self, batch: Any) -> torch.Tensor:
        return (self.last(torch.tanh(self.first(batch))) - batch.sum(1, keepdim=True)).pow(2).mean()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.seen[self.current_epoch, batch_idx] = torch.cat([p.detach().flatten() for p in self.parameters()])

    def configure_optimizers(self) -> Any:
        optimizer = Adam(self.parameters(), self.hparams.lr)
        return [optimizer], [StepLR(optimizer, 1, 0.5)]


class ByStep(Body):
    """Momentum, clipped; a schedule by step."""

    def configure_optimizers(self) -> Any:
        optimizer = SGD(self.parameters(), self.hparams.lr, momentum=0.9)
        scheduler = LambdaLR(optimizer, lambda step: 1 / (1 + step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class OneCycle(Body):
    """A schedule that moves the momentum too."""

    def configure_optimizers(self) -> Any:
        optimizer = SGD(self.parameters(), self.hparams.lr, momentum=0.9)
        scheduler = OneCycleLR(optimizer, 0.1, total_steps=EPOCHS * BATCHES)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class Plateau(Body):
    """A schedule by a metric of the validation."""

    def configure_optimizers(self) -> Any:
        optimizer = Adam(self.parameters(), self.hparams.lr)
        scheduler = ReduceLROnPlateau(optimizer, patience=0, threshold=10.0, factor=0.5)
        return {"optimizer": optimizer, "lr_scheduler": scheduler, "monitor": "val_loss"}


class ByHand(Body):
    """Two optimizers by hand, one of them at every second batch; the user steps a schedule."""

    def __init__(self, lr: float = 0.1, width: int = 4) -> None:
        super().__init__(lr, width)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        one, two = self.optimizers()
        loss = self.loss(batch)
        one.zero_grad()
        two.zero_grad()
        self.manual_backward(loss)
        one.step()
        if batch_idx % 2 == 0:
            two.step()
        self.lr_schedulers().step()

    def configure_optimizers(self) -> Any:
        one, two = SGD(self.first.parameters(), self.hparams.lr, momentum=0.5), Adam(self.last.parameters(), 0.01)
        return [one, two], [CosineAnnealingLR(one, 50)]


BODIES = {body.__name__: body for body in (Body, ByStep, OneCycle, Plateau, ByHand)}
FLAGS: dict[str, dict[str, Any]] = {"ByStep": {"gradient_clip_val": 0.5}}

BASES = {"theirs": pytorch_lightning.LightningModule, "ours": functrain_torch.LightningModule}
CALLBACKS = {"theirs": their_callbacks, "ours": our_callbacks}


def model(who: str, name: str = "Body", **arguments: Any) -> Any:
    """A module of this body: 'theirs' or 'ours'."""
    return kind(who, name)(**arguments)


def kind(who: str, name: str = "Body") -> Any:
    return type(name, (BODIES[name], BASES[who]), {})


def trainer(who: str, callbacks: Any = (), **flags: Any) -> Any:
    """A Trainer that writes nothing by itself."""
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    flags = {"max_epochs": EPOCHS, **quiet, **flags}
    flags.setdefault("enable_checkpointing", any("ModelCheckpoint" in type(c).__name__ for c in callbacks))
    make = {"theirs": pytorch_lightning.Trainer, "ours": functrain_torch.Trainer}[who]
    return make(callbacks=list(callbacks), accelerator="cpu", **flags)


class Saving:
    """Saves a checkpoint in this hook, every time; the state is the callback's own."""

    def __init__(self, hook: str, folder: Path) -> None:
        super().__init__()
        self.count = 0

        def save(trainer: Any, *_: Any) -> None:
            if not getattr(trainer, "sanity_checking", False):
                self.count += 1
                trainer.save_checkpoint(folder / f"{hook}-{self.count:02}.ckpt")

        setattr(self, hook, save)

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.count = state_dict["count"]


def saving(who: str, hook: str, folder: Path) -> Any:
    """A callback that saves in this hook, of that library."""
    base = {"theirs": pytorch_lightning.Callback, "ours": functrain_torch.Callback}[who]
    made = type(f"Saving_{hook}", (Saving, base), {})
    return made(hook, folder)
