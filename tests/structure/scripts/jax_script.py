"""A user's script, read by pyright alone: what is marked as wrong is reported, and nothing else."""

from __future__ import annotations

import jax.numpy as jnp
import optax
from flax import nnx

import functrain
import functrain_jax as ft
from functrain.callbacks import EarlyStopping
from functrain.loggers import CSVLogger


class Net(ft.Module):
    def __init__(self, rate: float = 0.1) -> None:
        self.net = nnx.Linear(4, 1, rngs=nnx.Rngs(0))
        self.rate = rate

    def training_step(self, batch, batch_idx):
        loss = jnp.mean(self.net(batch))
        self.log("loss", loss, on_epoch=True)
        self.log("loss")  # wrong
        return loss

    def configure_optimizers(self):
        return optax.sgd(self.rate)

    def on_train_epoch_end(self):
        super().on_train_epoch_end()

    def on_train_batch_end(self, outputs, batch, batch_idx):
        super().on_train_batch_end(outputs, batch, batch_idx)

    def on_validation_epoch_end(self) -> float:
        return 3.0

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return super().on_after_batch_transfer(batch, dataloader_idx)

    def train_dataloader(self):
        return ft.ArrayLoader(jnp.zeros((8, 4)), batch_size=4)


class Told(ft.Callback):
    def on_train_start(self, trainer: ft.Trainer, pl_module: Net) -> None:
        print(pl_module.rate, trainer.precision, trainer.logger)
        trainer.precisions  # wrong

    def on_exception(self, trainer, pl_module, exception):
        raise exception


trainer = ft.Trainer(max_epochs=3, callbacks=Told(), logger=CSVLogger("logs"), precision="bf16")
ft.Trainer(max_epochs="x")  # wrong
ft.Trainer(maxepochs=3)  # wrong
ft.Trainer(max_nb_epochs=3)  # wrong
ft.Trainer(callbacks=EarlyStopping)  # wrong
functrain.Trainer(max_epochs=1.5)  # wrong
functrain.Trainer(max_epochs=1, strategy="auto")
functrain.Trainer(early_stop_callback=True)  # wrong
trainer.nonsense  # wrong
trainer.fit(Net(), train_dataloaders=[jnp.zeros((8, 4))])
trainer.fit(Net(), trainloader=[])  # wrong
Net.load_from_checkpoint("one", rate=0.2).rate.hex()
Net.load_from_checkpoint("one").rates  # wrong
