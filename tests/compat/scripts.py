"""Scripts as people write them, each a function of the library that it imports as `pl`: what it returns is what its
author would look at."""

from __future__ import annotations

import copy
import math
import os
from importlib import import_module
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset, random_split
from torchmetrics import Accuracy, MaxMetric, MeanMetric, MetricCollection, Precision

QUIET: dict[str, Any] = {
    "accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False,
    "log_every_n_steps": 1,
}  # fmt: skip


def seen(trainer: Any, module: Any) -> dict[str, Any]:
    """What is there after a run."""
    saver = trainer.checkpoint_callback
    return {
        "metrics": dict(trainer.callback_metrics),
        "bar": dict(trainer.progress_bar_metrics),
        "weights": dict(module.state_dict()),
        "position": (trainer.current_epoch, trainer.global_step),
        "best": None if saver is None else os.path.basename(saver.best_model_path),
        "score": None if saver is None else saver.best_model_score,
    }


def of_vectors(n: int, size: int = 4, batch_size: int = 4, shuffle: bool = False) -> Any:
    return DataLoader(TensorDataset(torch.randn(n, size)), batch_size, shuffle=shuffle)


def classifier(pl: Any) -> Any:
    """The classifier of the examples: data in the module, metrics of torchmetrics, the best weights tested."""

    class LitMNIST(pl.LightningModule):
        def __init__(self, hidden_size=8, learning_rate=2e-2):
            super().__init__()
            self.save_hyperparameters()
            self.model = nn.Sequential(
                nn.Flatten(), nn.Linear(16, hidden_size), nn.ReLU(), nn.Dropout(0.1), nn.Linear(hidden_size, 4)
            )
            self.val_accuracy = Accuracy(task="multiclass", num_classes=4)
            self.test_accuracy = Accuracy(task="multiclass", num_classes=4)

        def forward(self, x):
            return F.log_softmax(self.model(x), dim=1)

        def training_step(self, batch, batch_idx):
            x, y = batch
            loss = F.nll_loss(self(x), y)
            self.log("train_loss", loss, prog_bar=True, on_step=True, on_epoch=True)
            return loss

        def validation_step(self, batch, batch_idx):
            x, y = batch
            logits = self(x)
            self.val_accuracy.update(logits.argmax(1), y)
            self.log("val_loss", F.nll_loss(logits, y), prog_bar=True)
            self.log("val_acc", self.val_accuracy, prog_bar=True)

        def test_step(self, batch, batch_idx):
            x, y = batch
            self.test_accuracy(self(x).argmax(1), y)
            self.log("test_acc", self.test_accuracy)

        def configure_optimizers(self):
            optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams.learning_rate)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.9)]

        def prepare_data(self):
            x = torch.randn(60, 1, 4, 4)
            self.full = TensorDataset(x, x.flatten(1)[:, :4].argmax(1))

        def setup(self, stage=None):
            if stage == "fit" or stage is None:
                self.train_ds, self.val_ds = random_split(self.full, [45, 15])

        def train_dataloader(self):
            return DataLoader(self.train_ds, batch_size=8, shuffle=True)

        def val_dataloader(self):
            return DataLoader(self.val_ds, batch_size=8)

        def test_dataloader(self):
            return DataLoader(self.val_ds, batch_size=8)

    pl.seed_everything(42)
    model = LitMNIST()
    name = "mnist-{epoch:02d}-{val_loss:.2f}"
    saver = pl.callbacks.ModelCheckpoint(dirpath="ckpts", monitor="val_loss", filename=name, save_top_k=2)
    stopper = pl.callbacks.EarlyStopping("val_loss", patience=5)
    trainer = pl.Trainer(max_epochs=3, callbacks=[saver, stopper], num_sanity_val_steps=2, **QUIET)
    trainer.fit(model)
    fit, kept = seen(trainer, model), sorted(os.listdir("ckpts"))
    result = trainer.test(ckpt_path="best")
    loaded = LitMNIST.load_from_checkpoint(saver.best_model_path, learning_rate=0.5)
    return fit, kept, result, dict(loaded.hparams), dict(loaded.state_dict())


def gan_by_hand(pl: Any) -> Any:
    """Two optimizers, toggled, stepped by hand."""

    class GAN(pl.LightningModule):
        def __init__(self, latent_dim: int = 4, lr: float = 2e-3, **kwargs):
            super().__init__()
            self.save_hyperparameters()
            self.automatic_optimization = False
            self.generator = nn.Sequential(
                nn.Linear(latent_dim, 8), nn.BatchNorm1d(8), nn.LeakyReLU(0.2), nn.Linear(8, 6)
            )
            self.discriminator = nn.Sequential(nn.Linear(6, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1), nn.Sigmoid())

        def training_step(self, batch):
            (imgs,) = batch
            optimizer_g, optimizer_d = self.optimizers()
            z = torch.randn(imgs.shape[0], self.hparams.latent_dim).type_as(imgs)
            valid, fake = torch.ones(imgs.size(0), 1).type_as(imgs), torch.zeros(imgs.size(0), 1).type_as(imgs)

            self.toggle_optimizer(optimizer_g)
            g_loss = F.binary_cross_entropy(self.discriminator(self.generator(z)), valid)
            self.log("g_loss", g_loss, prog_bar=True)
            self.manual_backward(g_loss)
            optimizer_g.step()
            optimizer_g.zero_grad()
            self.untoggle_optimizer(optimizer_g)

            self.toggle_optimizer(optimizer_d)
            real_loss = F.binary_cross_entropy(self.discriminator(imgs), valid)
            fake_loss = F.binary_cross_entropy(self.discriminator(self.generator(z).detach()), fake)
            d_loss = (real_loss + fake_loss) / 2
            self.log("d_loss", d_loss, prog_bar=True)
            self.manual_backward(d_loss)
            optimizer_d.step()
            optimizer_d.zero_grad()
            self.untoggle_optimizer(optimizer_d)

        def configure_optimizers(self):
            opt_g = torch.optim.Adam(self.generator.parameters(), lr=self.hparams.lr, betas=(0.5, 0.999))
            opt_d = torch.optim.Adam(self.discriminator.parameters(), lr=self.hparams.lr, betas=(0.5, 0.999))
            return [opt_g, opt_d], []

    pl.seed_everything(7)
    model, trainer = GAN(unused=3), pl.Trainer(max_epochs=2, enable_checkpointing=False, **QUIET)
    trainer.fit(model, of_vectors(20, 6, shuffle=True))
    found = seen(trainer, model)
    del found["position"]  # one step an optimizer there, one a batch here
    return found, dict(model.hparams)


class Images(Dataset):
    """Small images, in dicts with their names."""

    def __init__(self, n: int) -> None:
        self.x = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(n))

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> Any:
        return {"lr": F.avg_pool2d(self.x[i], 2), "hr": self.x[i], "name": f"img{i}"}


def super_resolution(pl: Any) -> Any:
    """Batches as dicts, one method for the stages, a plateau schedule, clipping, every evaluation."""

    class SuperResolution(pl.LightningModule):
        def __init__(self, upscale_factor=2, lr=1e-2):
            super().__init__()
            self.save_hyperparameters()
            self.conv1, self.conv2 = nn.Conv2d(1, 4, 5, padding=2), nn.Conv2d(4, upscale_factor**2, 3, padding=1)
            self.shuffle = nn.PixelShuffle(upscale_factor)

        def forward(self, x):
            return self.shuffle(self.conv2(torch.relu(self.conv1(x))))

        def _step(self, batch, stage):
            loss = F.mse_loss(self(batch["lr"]), batch["hr"])
            values = {f"{stage}/loss": loss, f"{stage}/psnr": 10 * torch.log10(1 / loss)}
            self.log_dict(values, prog_bar=True, on_epoch=True, on_step=stage == "train", batch_size=len(batch["name"]))
            return loss

        def training_step(self, batch, batch_idx):
            return self._step(batch, "train")

        def validation_step(self, batch, batch_idx):
            self._step(batch, "val")

        def test_step(self, batch, batch_idx):
            self._step(batch, "test")

        def predict_step(self, batch, batch_idx):
            return self(batch["lr"]), batch["name"]

        def configure_optimizers(self):
            optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams.lr)
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5, threshold=0.5)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val/loss"}}

    pl.seed_everything(123)
    saver = pl.callbacks.ModelCheckpoint(
        dirpath="ckpts", monitor="val/psnr", mode="max", filename="{epoch}-{step}", auto_insert_metric_name=False
    )
    model, trainer = SuperResolution(), pl.Trainer(max_epochs=3, callbacks=saver, gradient_clip_val=0.4, **QUIET)
    trainer.fit(model, DataLoader(Images(20), 4, shuffle=True), DataLoader(Images(10), 4))
    found, rate = seen(trainer, model), trainer.optimizers[0].param_groups[0]["lr"]
    validated = trainer.validate(model, DataLoader(Images(10), 4), verbose=False)
    tested = trainer.test(model, DataLoader(Images(11), 4), verbose=False)
    return found, rate, validated, tested, trainer.predict(model, DataLoader(Images(6), 4))


def language_model(pl: Any) -> Any:
    """Accumulated windows, a warm-up by the step, validation within the epoch, clipping of one's own."""

    class Language(pl.LightningModule):
        def __init__(self, vocab_size=13, warmup=2, max_iters=30):
            super().__init__()
            self.save_hyperparameters()
            self.embed, self.rnn = nn.Embedding(vocab_size, 8), nn.GRU(8, 8, batch_first=True)
            self.head = nn.Linear(8, vocab_size)

        def _loss(self, batch):
            (x,) = batch
            return F.cross_entropy(self.head(self.rnn(self.embed(x[:, :-1]))[0]).flatten(0, 1), x[:, 1:].flatten())

        def training_step(self, batch, batch_idx):
            loss = self._loss(batch)
            self.log("train_loss", loss, prog_bar=True)
            self.log("perplexity", loss.exp(), on_step=False, on_epoch=True)
            return loss

        def validation_step(self, batch, batch_idx):
            self.log("val_loss", self._loss(batch))

        def configure_optimizers(self):
            optimizer = torch.optim.AdamW(self.parameters(), lr=1e-2)
            self.steps = self.trainer.estimated_stepping_batches
            rate = lambda s: min(1.0, (s + 1) / self.hparams.warmup) * (1 + math.cos(math.pi * s / self.steps)) / 2  # noqa: E731
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
            return [optimizer], [{"scheduler": schedule, "interval": "step", "name": "lr"}]

        def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
            self.clip_gradients(
                optimizer, gradient_clip_val=gradient_clip_val, gradient_clip_algorithm=gradient_clip_algorithm
            )

    pl.seed_everything(5)
    data = DataLoader(TensorDataset(torch.randint(0, 13, (24, 9))), 2)
    model = Language()
    trainer = pl.Trainer(
        max_epochs=2, gradient_clip_val=0.25, accumulate_grad_batches=3, val_check_interval=0.5,
        enable_checkpointing=False, **QUIET,
    )  # fmt: skip
    trainer.fit(model, data, data)
    return seen(trainer, model), model.steps, trainer.optimizers[0].param_groups[0]["lr"]


def warm_up(pl: Any) -> Any:
    """A siamese net whose `optimizer_step` warms up, and one that hands on to it."""

    class Siamese(pl.LightningModule):
        def __init__(self, **hparams):
            super().__init__()
            self.save_hyperparameters()
            self.net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
            self.rates = []

        def training_step(self, batch, batch_idx):
            a, b = batch[0].chunk(2)
            d = F.pairwise_distance(self.net(a), self.net(b))
            loss = (d**2 + torch.clamp(1 - d, min=0) ** 2).mean()
            self.log("loss", loss)
            return {"loss": loss, "d": d.detach()}

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=self.hparams["lr"], momentum=0.9)

        def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
            optimizer.step(closure=optimizer_closure)
            if self.trainer.global_step < 6:
                for group in optimizer.param_groups:
                    group["lr"] = min(1.0, (self.trainer.global_step + 1) / 6) * self.hparams.lr
            self.rates.append(optimizer.param_groups[0]["lr"])

    class Counts(Siamese):
        count = 0

        def optimizer_step(self, *args, **kwargs):
            self.count += 1
            super().optimizer_step(*args, **kwargs)

    pl.seed_everything(11)
    model, trainer = Counts(lr=0.1, tag="x"), pl.Trainer(max_epochs=2, enable_checkpointing=False, **QUIET)
    trainer.fit(model, of_vectors(20))
    return seen(trainer, model), model.rates, model.count, dict(model.hparams)


def hooks(pl: Any) -> Any:
    """A callback that writes down what is called, in a fit and in each evaluation."""
    calls: list[str] = []
    plain = (
        *("on_sanity_check_start", "on_sanity_check_end", "on_train_start", "on_train_epoch_start"),
        *("on_after_backward", "on_validation_start", "on_validation_epoch_start", "on_validation_epoch_end"),
        *("on_validation_end", "on_train_epoch_end", "on_train_end", "on_fit_end", "on_test_start"),
        *("on_test_epoch_start", "on_test_epoch_end", "on_test_end", "on_predict_start", "on_predict_epoch_start"),
        *("on_predict_epoch_end", "on_predict_end"),
    )

    class Says(pl.Callback):
        def teardown(self, trainer, pl_module, stage):
            calls.append(f"teardown {stage == 'fit'}")

        def state_dict(self):
            return {"n": 3}

        def on_save_checkpoint(self, trainer, pl_module, checkpoint):
            calls.append("save")

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            calls.append(f"batch {batch_idx} of step {trainer.global_step}")

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            shown = sorted(trainer.callback_metrics)
            calls.append(f"batch end {batch_idx} of step {trainer.global_step} {sorted(outputs)} {shown}")

        def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
            calls.append(f"validation {batch_idx} {dataloader_idx}")

        def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
            calls.append(f"validation end {batch_idx} {outputs}")

        def on_before_zero_grad(self, trainer, pl_module, optimizer):
            calls.append(f"zero_grad {type(optimizer).__name__}")

        def on_before_backward(self, trainer, pl_module, loss):
            calls.append("backward")

        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            calls.append("step")

    def says(name: str) -> Any:
        return lambda self, trainer, pl_module: calls.append(
            f"{name} {trainer.current_epoch} {trainer.sanity_checking} {trainer.state.fn == 'fit'}"
        )

    for name in plain:
        setattr(Says, name, says(name))

    class Net(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 1)

        def training_step(self, batch, batch_idx):
            loss = self.layer(batch[0]).pow(2).mean()
            self.log("loss", loss, on_step=True, on_epoch=True)
            return loss

        def validation_step(self, batch, batch_idx):
            self.log("val_loss", self.layer(batch[0]).mean())
            return {"a": 1}

        def test_step(self, batch, batch_idx):
            self.log("test_loss", self.layer(batch[0]).mean())

        def predict_step(self, batch, batch_idx):
            return self.layer(batch[0])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    pl.seed_everything(0)
    data, net = of_vectors(12), Net()
    saver = pl.callbacks.ModelCheckpoint(dirpath="ckpts")
    trainer = pl.Trainer(max_epochs=2, callbacks=[Says(), saver], **QUIET)
    trainer.fit(net, data, data)
    trainer.validate(net, data, verbose=False)
    trainer.test(net, data, verbose=False)
    trainer.predict(net, data)
    return calls, sorted(os.listdir("ckpts"))


def collections(pl: Any) -> Any:
    """A MetricCollection a stage, computed by hand and by the library; metrics that keep means and maxima."""

    class Net(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)
            metrics = MetricCollection(
                [
                    Accuracy(task="multiclass", num_classes=3),
                    Precision(task="multiclass", num_classes=3, average="macro"),
                ]
            )
            self.train_metrics, self.valid_metrics = metrics.clone(prefix="train_"), metrics.clone(prefix="val_")
            self.test_metrics = nn.ModuleDict({"all": metrics.clone(prefix="test_")})
            self.train_loss, self.val_best = MeanMetric(), MaxMetric()

        def training_step(self, batch, batch_idx):
            x, y = batch
            logits = self.layer(x)
            loss = F.cross_entropy(logits, y)
            self.train_loss(loss)
            self.log("train/loss", self.train_loss, on_step=False, on_epoch=True, prog_bar=True)
            self.log_dict(self.train_metrics(logits, y))
            return loss

        def validation_step(self, batch, batch_idx):
            x, y = batch
            self.valid_metrics.update(self.layer(x), y)

        def on_validation_epoch_end(self):
            output = self.valid_metrics.compute()
            self.log_dict(output, prog_bar=True)
            self.valid_metrics.reset()
            self.val_best(output["val_MulticlassAccuracy"])
            self.log("val_best", self.val_best.compute(), sync_dist=True)

        def on_train_start(self):
            self.val_best.reset()

        def test_step(self, batch, batch_idx):
            x, y = batch
            self.test_metrics["all"](self.layer(x), y)
            self.log_dict(self.test_metrics["all"], on_step=False, on_epoch=True)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.5)

    pl.seed_everything(0)
    data = TensorDataset(torch.randn(30, 4), torch.randint(0, 3, (30,)))
    model, trainer = Net(), pl.Trainer(max_epochs=3, enable_checkpointing=False, **QUIET)
    trainer.fit(model, DataLoader(data, 8), DataLoader(data, 12))
    return seen(trainer, model), trainer.test(model, DataLoader(data, 7), verbose=False)


def going_on(pl: Any) -> Any:
    """A run, its checkpoint with something of one's own, and a run that goes on from it."""

    class Net(pl.LightningModule):
        def __init__(self, lr=0.1):
            super().__init__()
            self.save_hyperparameters()
            self.layer, self.found = nn.Linear(4, 1), None

        def training_step(self, batch, batch_idx):
            loss = self.layer(batch[0]).pow(2).mean()
            self.log("loss", loss)
            return loss

        def configure_optimizers(self):
            optimizer = torch.optim.Adam(self.parameters(), self.hparams.lr)
            return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)}

        def on_save_checkpoint(self, checkpoint):
            checkpoint["own"] = {"epoch": self.current_epoch}

        def on_load_checkpoint(self, checkpoint):
            self.found = checkpoint["own"]

    pl.seed_everything(0)
    data, first = of_vectors(12), Net()
    trainer = pl.Trainer(max_epochs=2, enable_checkpointing=False, **QUIET)
    trainer.fit(first, data)
    trainer.save_checkpoint("example.ckpt")
    kept = torch.load("example.ckpt", weights_only=False)
    second = Net()
    again = pl.Trainer(max_epochs=4, enable_checkpointing=False, **QUIET)
    again.fit(second, data, ckpt_path="example.ckpt")
    loaded = Net.load_from_checkpoint("example.ckpt", lr=0.5, map_location="cpu")
    position = kept["epoch"], kept["global_step"], kept["own"], kept["hyper_parameters"]
    return seen(trainer, first), position, seen(again, second), second.found, loaded.hparams.lr


def averages(pl: Any) -> Any:
    """A module within a module; a callback that swaps weights for their averages while it validates; hooks that look
    at gradients."""
    grad_norm = import_module(f"{pl.__name__}.utilities").grad_norm

    class Inner(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x):
            return self.layer(x)

        def training_step(self, batch, batch_idx):
            return self(batch[0]).pow(2).mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.3)

    class Outer(pl.LightningModule):
        def __init__(self, inner, rate=0.05):
            super().__init__()
            self.save_hyperparameters(ignore=["inner"])
            self.inner, self.head, self.norms = inner, nn.Linear(2, 1), []

        def training_step(self, batch, batch_idx):
            loss = self.head(self.inner(batch[0])).pow(2).mean()
            self.log("loss", loss)
            return loss

        def validation_step(self, batch, batch_idx):
            self.log("val", self.head(self.inner(batch[0])).mean())

        def on_after_backward(self):
            norm = sum(p.grad.norm() for p in self.parameters() if p.grad is not None)
            self.norms.append(float(norm))
            self.log("norm", norm)

        def on_before_optimizer_step(self, optimizer):
            self.log_dict(grad_norm(self.head, norm_type=2))

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), self.hparams.rate)

    class EMA(pl.Callback):
        def on_fit_start(self, trainer, pl_module):
            self.shadow = {k: v.detach().clone() for k, v in pl_module.state_dict().items()}

        @torch.no_grad()
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            for k, v in pl_module.state_dict().items():
                self.shadow[k].mul_(0.9).add_(v, alpha=0.1)

        def on_validation_start(self, trainer, pl_module):
            self.backup = copy.deepcopy(pl_module.state_dict())
            pl_module.load_state_dict(self.shadow)

        def on_validation_end(self, trainer, pl_module):
            pl_module.load_state_dict(self.backup)

        def on_train_epoch_end(self, trainer, pl_module):
            for optimizer in trainer.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] *= 0.5

    pl.seed_everything(0)
    data, inner = of_vectors(12), Inner()
    before = pl.Trainer(max_epochs=1, enable_checkpointing=False, **QUIET)
    before.fit(inner, data)
    model, ema = Outer(inner), EMA()
    trainer = pl.Trainer(
        max_epochs=3, callbacks=[ema], gradient_clip_val=0.1, enable_checkpointing=False, **QUIET
    )  # fmt: skip
    trainer.fit(model, data, data)
    return seen(before, inner)["position"], seen(trainer, model), model.norms, ema.shadow


def folds(pl: Any) -> Any:
    """Cross-validation by hand, a Trainer a fold, early stopping, the best of each validated."""

    class Net(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 1)

        def training_step(self, batch, batch_idx):
            loss = (self.layer(batch[0]) - 1).pow(2).mean()
            self.log("loss", loss)
            return loss

        def validation_step(self, batch, batch_idx):
            self.log("val_loss", (self.layer(batch[0]) - 1).pow(2).mean())

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.3)

    pl.seed_everything(0)
    data, found = TensorDataset(torch.randn(15, 4)), []
    for fold in range(3):
        held = list(range(fold * 5, fold * 5 + 5))
        train = DataLoader(Subset(data, [i for i in range(15) if i not in held]), 3, shuffle=True)
        val = DataLoader(Subset(data, held), 5)
        saver = pl.callbacks.ModelCheckpoint(dirpath=f"fold{fold}", monitor="val_loss")
        stopper = pl.callbacks.EarlyStopping(monitor="val_loss", mode="min", patience=1)
        model, trainer = Net(), pl.Trainer(max_epochs=6, callbacks=[saver, stopper], **QUIET)
        trainer.fit(model, train, val)
        best = Net.load_from_checkpoint(saver.best_model_path)
        found.append((seen(trainer, model), stopper.stopped_epoch, trainer.validate(best, val, verbose=False)))
    return found


SCRIPTS = (
    classifier, gan_by_hand, super_resolution, language_model, warm_up, hooks, collections, going_on, averages, folds,
)  # fmt: skip
