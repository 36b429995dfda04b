"""A user's script, read by pyright alone: what is marked as wrong is reported, and nothing else."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any, Optional

import torch
from torch.utils.data import DataLoader

import functrain_torch as pl
from functrain_torch.callbacks import EarlyStopping, ModelCheckpoint
from functrain_torch.loggers import CSVLogger


class Net(pl.LightningModule):
    def __init__(self, rate: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(4, 1)
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)

    def training_step(self, batch, batch_idx, optimizer_idx):
        loss = self(batch).mean()
        self.log("loss", loss, prog_bar=True)
        self.log("loss", loss, prog_bars=True)  # wrong
        return {"loss": loss, "log": {"rate": self.rate}}

    def validation_step(self, batch, batch_nb):
        return self(batch)

    def validation_epoch_end(self, validation_step_outputs):
        self.log_dict({"n": len(validation_step_outputs)})

    def configure_optimizers(self):
        return [torch.optim.SGD(self.parameters(), lr=0.1)], []

    def optimizer_step(self, current_epoch, batch_nb, optimizer, optimizer_i, second_order_closure=None):
        optimizer.step()

    def backward(self, loss, *args, **kwargs):
        super().backward(loss, *args, **kwargs)

    def on_train_epoch_start(self):
        self.freeze()

    def on_train_epoch_end(self):
        super().on_train_epoch_end()
        return {"over": True}

    def on_train_batch_start(self, batch: torch.Tensor, batch_idx: int) -> Optional[int]:
        return -1 if self.global_step > 3 else None

    def on_train_batch_end(self, outputs, *args):
        super().on_train_batch_end(outputs)

    def on_before_optimizer_step(self, optimizer: torch.optim.SGD, optimizer_idx: int) -> None:
        optimizer.param_groups[0]["lr"] = self.rate

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader([1.0])  # type: ignore[arg-type]

    def setup(self, stage=None) -> None:
        super().setup(stage)


class Told(pl.Callback):
    def on_train_epoch_end(self, trainer, pl_module, outputs, unused=0):
        super().on_train_epoch_end(trainer, pl_module)

    def on_train_start(self, trainer: pl.Trainer, pl_module: Net) -> None:
        print(trainer.current_epoch, pl_module.rate)
        print(trainer.nothing)  # wrong

    def on_validation_end(self, trainer, *_):
        trainer.anything  # it is not said what this is

    def setup(self, trainer, pl_module: Net, stage: Optional[str] = None) -> None:
        pass

    def state_dict(self):
        return {"n": 3}


class Data(pl.LightningDataModule):
    def prepare_data(self):
        pass

    def setup(self, stage: Optional[str] = None):
        pass

    def val_dataloader(self):
        return [DataLoader([1.0]), DataLoader([2.0])]  # type: ignore[arg-type]

    def transfer_batch_to_device(self, batch, device):
        return super().transfer_batch_to_device(batch, device)


trainer = pl.Trainer(
    logger=[CSVLogger("logs")],
    callbacks=[Told(), EarlyStopping("loss"), ModelCheckpoint(monitor="loss")],
    max_epochs=3,
    gradient_clip_val=1,
    limit_train_batches=0.5,
    accumulate_grad_batches={3: 2},
    enable_progress_bar=False,
    max_time={"hours": 1},
)
pl.Trainer(max_epochs="x")  # wrong
pl.Trainer(maxepochs=3)  # wrong
pl.Trainer(callbacks=[3])  # wrong
pl.Trainer(logger="tensorboard")  # wrong
pl.Trainer(profiler="simple").profiler.profile("mine")
pl.Trainer(profiler=3)  # wrong
pl.Trainer(3)  # wrong
pl.Trainer(max_nb_epochs=3, early_stop_callback=True, gpus=1)
pl.Trainer(max_nb_epochs="x")  # wrong
pl.Trainer(max_nb_epoch=3)  # wrong

trainer.nonsense  # wrong
trainer.max_epochs.nonsense  # wrong
trainer.log_every_n_steps = 10  # wrong
steps: int = trainer.log_every_n_steps
folder: str = trainer.default_root_dir
clip: str = trainer.gradient_clip_val  # wrong
trainer.should_stop = True
trainer.fit(Net(), datamodule=Data())
trainer.fit(Net(), train_dataloaders=DataLoader([1.0]), ckpt_path="last")  # type: ignore[arg-type]
trainer.fits(Net())  # wrong
trainer.test(ckpt_path="best")[0]["loss"].hex()

net = Net.load_from_checkpoint("one.ckpt", rate=0.2)
net.rate.hex()
text: str = net.rate  # wrong
older: Net = Net.load_from_metrics("one.ckpt", "tags.csv")
parser: ArgumentParser = pl.Trainer.add_argparse_args(ArgumentParser())
from_words: pl.Trainer = pl.Trainer.from_argparse_args(parser.parse_args(), max_epochs=3)
