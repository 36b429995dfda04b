"""LightningModules as the documents write them: steps, epoch ends, inference, properties."""

import inspect

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

import functrain_torch as pl
from functrain_torch import Trainer
from tests.documents.blocks import stands_for
from tests.documents.standins import BATCHES, EVALUATED, Net, OneStep, fitted, loader, samples, saved


@stands_for(module=4)
def test_a_module_is_a_torch_module():
    path = saved(Net())
    net = Net.load_from_checkpoint(path)
    net.freeze()
    out = net(torch.ones(2, 4))
    assert (out.shape, out.requires_grad, net.training) == ((2, 2), False, False)


class Starter(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.l1 = nn.Linear(28 * 28, 10)

    def forward(self, x):
        return torch.relu(self.l1(x.view(x.size(0), -1)))

    def training_step(self, batch, batch_idx):
        x, y = batch
        y_hat = self(x)
        return functional.cross_entropy(y_hat, y)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.02)


@stands_for(module=(5, 6))
def test_the_starter_example():
    train_loader = DataLoader(samples(20, 1, 28, 28))
    trainer = pl.Trainer(max_epochs=1)
    model = Starter()
    trainer.fit(model, train_dataloaders=train_loader)
    assert trainer.global_step == 20


class OfModel(Net):
    """Net whose layer goes by the name of the blocks, model, and is given to it."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.layer = model


@stands_for(module=(7, 9))
def test_training_step_and_its_epoch_metric():
    losses = []

    class Noting(OfModel):
        def training_step(self, batch, batch_idx):
            x, y = batch
            y_hat = self.model(x)
            loss = functional.cross_entropy(y_hat, y)
            losses.append(loss.item())
            self.log("train_loss", loss, on_step=True, on_epoch=True, prog_bar=True, logger=True)
            return loss

    trainer = Trainer()
    fitted(trainer, Noting(nn.Linear(4, 2)))
    last = losses[-BATCHES:]
    assert trainer.callback_metrics["train_loss_epoch"] == pytest.approx(sum(last) / BATCHES, rel=1e-5)
    assert trainer.callback_metrics["train_loss_step"] == pytest.approx(last[-1], rel=1e-5)
    assert trainer.progress_bar_metrics.keys() >= {"train_loss_step", "train_loss_epoch"}


@stands_for(module=11)
def test_training_epoch_end():
    class Collecting(OfModel):
        def training_step(self, batch, batch_idx):
            x, y = batch
            y_hat = self.model(x)
            loss = functional.cross_entropy(y_hat, y)
            return {"loss": loss, "other_stuff": y_hat.argmax(1)}

        def training_epoch_end(self, training_step_outputs):
            self.found = torch.stack([out["other_stuff"] for out in training_step_outputs])

    assert fitted(Trainer(), Collecting(nn.Linear(4, 2))).found.shape == (BATCHES, 2)


@stands_for(module=(13, 14))
def test_training_step_end():
    """On one device there is one part; two are made by hand."""

    class InParts(OfModel):
        def training_step(self, batch, batch_idx):
            x, y = batch
            losses = [
                functional.cross_entropy(self.model(part), to) for part, to in zip(x.split(1), y.split(1), strict=True)
            ]
            return {"loss": torch.stack(losses), "pred": self.model(x)}

        def training_step_end(self, batch_parts):
            assert batch_parts["pred"].shape == (2, 2)
            losses = batch_parts["loss"]
            return (losses[0] + losses[1]) / 2

        def training_epoch_end(self, training_step_outputs):
            self.number = len([out for out in training_step_outputs if out["loss"].shape == ()])

    whole, parts = Net(), InParts(nn.Linear(4, 2))
    parts.layer.load_state_dict(whole.layer.state_dict())
    fitted(Trainer(), whole)
    fitted(Trainer(), parts)
    assert parts.number == BATCHES
    assert torch.allclose(parts.layer.weight, whole.layer.weight)


@stands_for(module=(15, 16))
def test_validation_step():
    modes = []

    class Starter(OfModel):
        def validation_step(self, batch, batch_idx):
            x, y = batch
            modes.append((self.training, torch.is_grad_enabled()))
            self.log("val_loss", functional.cross_entropy(self.model(x), y))

        def training_step(self, batch, batch_idx):
            assert self.training
            assert torch.is_grad_enabled()
            return super().training_step(batch, batch_idx)

    trainer = Trainer()
    fitted(trainer, Starter(nn.Linear(4, 2)))
    assert set(modes) == {(False, False)}
    assert "val_loss" in trainer.callback_metrics


@stands_for(module=18)
def test_validation_epoch_end():
    class Collecting(OfModel):
        def validation_step(self, batch, batch_idx):
            x, _ = batch
            return self.model(x).argmax(1)

        def validation_epoch_end(self, validation_step_outputs):
            self.found = torch.stack(validation_step_outputs)

    assert fitted(Trainer(), Collecting(nn.Linear(4, 2))).found.shape == (EVALUATED, 2)


@stands_for(module=(19, 20))
def test_validation_step_end():
    class InParts(OfModel):
        def validation_step(self, batch, batch_idx):
            x, y = batch
            losses = [
                functional.cross_entropy(self.model(part), to) for part, to in zip(x.split(1), y.split(1), strict=True)
            ]
            return {"loss": torch.stack(losses), "pred": self.model(x)}

        def validation_step_end(self, batch_parts):
            losses = batch_parts["loss"]
            return (losses[0] + losses[1]) / 2

        def validation_epoch_end(self, validation_step_outputs):
            self.shapes = [out.shape for out in validation_step_outputs]

    assert fitted(Trainer(), InParts(nn.Linear(4, 2))).shapes == [()] * EVALUATED


@stands_for(module=(23, 24))
def test_monte_carlo_dropout():
    class Dropping(OfModel):
        def __init__(self, model, draws):
            super().__init__(model)
            self.dropout = nn.Dropout()
            self.draws = draws

        def predict_step(self, batch, batch_idx):
            self.dropout.train()
            x, _ = batch
            several = [self.dropout(self.model(x)).unsqueeze(0) for _ in range(self.draws)]
            assert not several[0].requires_grad
            return torch.vstack(several).mean(dim=0)

    model = Dropping(nn.Linear(4, 2), 4000)
    predictions = Trainer().predict(model)
    exact = model.model(next(iter(loader()))[0])
    assert torch.allclose(predictions[0], exact, atol=0.1)
    assert not torch.equal(predictions[0], exact)


class Autoencoder(Net):
    def __init__(self):
        super().__init__()
        self.decoder = nn.Linear(4, 6)

    def forward(self, x):
        return self.decoder(x[0] if isinstance(x, list) else x)


@stands_for(module=26)
def test_forward_for_inference():
    model = Autoencoder()
    model.eval()
    with torch.no_grad():
        decoded = model(torch.ones(3, 4))
    assert decoded.shape == (3, 6)


@stands_for(module=27)
def test_forward_as_a_loop():
    """As printed `forward` calls itself without end; here it calls an embedding."""

    class Decoding(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.embed, self.encoder, self.decoder = nn.Embedding(7, 4), nn.Linear(4, 4), nn.Linear(4, 7)

        def forward(self, x):
            embeddings = self.embed(x)
            hidden_states = self.encoder(embeddings)
            decoded = [self.decoder(h) for h in hidden_states]
            return torch.stack(decoded)

    assert Decoding()(torch.tensor([1, 2, 3])).shape == (3, 7)
    with pytest.raises(RecursionError):
        type("Endless", (pl.LightningModule,), {"forward": lambda self, x: self(x)})()(1)


@stands_for(module=28)
def test_predict_step_calls_forward():
    class Predicting(Autoencoder):
        def predict_step(self, batch, batch_idx, dataloader_idx=0):
            return self(batch)

    data_module = pl.LightningDataModule.from_datasets(predict_dataset=samples(6), batch_size=2)
    model = Predicting()
    with pytest.raises(pl.ConfigurationError, match=r"gpus=2\): this version runs on one device"):
        Trainer(gpus=2)
    predictions = Trainer().predict(model, data_module)
    assert [p.shape for p in predictions] == [(2, 6)] * 3


def accuracy(y_hat, y):
    return (y_hat.argmax(1) == y).float().mean()


class AnyModel(pl.LightningModule):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return functional.cross_entropy(self.model(x), y)

    def validation_step(self, batch, batch_idx):
        loss, acc = self._evaluated(batch, batch_idx)
        metrics = {"val_acc": acc, "val_loss": loss}
        self.log_dict(metrics)
        return metrics

    def test_step(self, batch, batch_idx):
        loss, acc = self._evaluated(batch, batch_idx)
        metrics = {"test_acc": acc, "test_loss": loss}
        self.log_dict(metrics)
        return metrics

    def _evaluated(self, batch, batch_idx):
        x, y = batch
        y_hat = self.model(x)
        return functional.cross_entropy(y_hat, y), accuracy(y_hat, y)

    def predict_step(self, batch, batch_idx, dataloader_idx=0):
        x, _ = batch
        return self.model(x)

    def configure_optimizers(self):
        return torch.optim.Adam(self.model.parameters(), lr=0.02)


@stands_for(module=(29, 30))
def test_a_task_takes_any_model():
    with pytest.raises(pl.ConfigurationError, match=r"gpus=2\): this version runs on one device"):
        Trainer(gpus=2)
    for model in (nn.Linear(4, 2), nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))):
        task = AnyModel(model)
        trainer = Trainer(max_epochs=8)
        trainer.fit(task, train_dataloaders=loader(20, 8), val_dataloaders=loader(4, 8))
        assert trainer.callback_metrics["val_acc"] > 0.8
        assert trainer.test(task, loader(4, 8))[0].keys() == {"test_acc", "test_loss"}
        assert len(trainer.predict(task, loader(4, 8))) == 4


@stands_for(module=31)
def test_a_task_of_two_networks():
    class Game(pl.LightningModule):
        def __init__(self, generator, discriminator):
            super().__init__()
            self.generator = generator
            self.discriminator = discriminator

    task = Game(nn.Linear(2, 4), nn.Linear(4, 1))
    assert {name.split(".")[0] for name, _ in task.named_parameters()} == {"generator", "discriminator"}


@stands_for(module=32)
def test_a_task_in_production():
    task = AnyModel(nn.Linear(4, 2))
    trainer = Trainer(max_epochs=1)
    trainer.fit(task, loader(4), loader(2))
    trainer.save_checkpoint("best_model.ckpt")

    # The model was not among the hyperparameters, so it is given.
    model = AnyModel.load_from_checkpoint("best_model.ckpt", model=nn.Linear(4, 2))
    x = torch.ones(3, 4)
    model.eval()
    with torch.no_grad():
        y_hat = model(x)
    assert torch.equal(y_hat, task(x).detach())
    with pytest.raises((TypeError, pl.CheckpointError, pl.ConfigurationError), match="model"):
        AnyModel.load_from_checkpoint("best_model.ckpt")


# properties


def in_training_step(function):
    """Fit a module whose training step also does this, and return it with the Trainer."""

    class Doing(OneStep):
        def training_step(self, batch, batch_idx):
            function(self)
            return super().training_step(batch, batch_idx)

    trainer = Trainer(log_every_n_steps=1)
    model = fitted(trainer, Doing())
    assert model.count["train"] == 3
    return model, trainer


@stands_for(module=33, notes=6)
def test_current_epoch():
    def note(module):
        if module.current_epoch == 0:
            module.count["first"] += 1

    assert in_training_step(note)[0].count["first"] == 3


@stands_for(module=34, notes=7)
def test_device():
    def draw(module):
        module.z = torch.rand(2, 3, device=module.device)

    assert in_training_step(draw)[0].z.device == torch.device("cpu")


@stands_for(module=(35, 40))
def test_global_and_local_rank():
    def log(module):
        assert module.local_rank == 0
        if module.global_rank == 0:
            module.log("global_step", module.trainer.global_step)

    _, trainer = in_training_step(log)
    assert trainer.callback_metrics["global_step"] == 2


@stands_for(module=36)
def test_global_step():
    steps = []

    def note(module):
        module.logger.experiment.add_image("shown", torch.zeros(3, 4, 4), module.global_step)
        steps.append(module.global_step)

    in_training_step(note)
    assert steps == [0, 1, 2]


@stands_for(module=38)
def test_logger():
    def note(module):
        assert module.logger is module.trainer.logger
        module.tensorboard_logger = module.logger.experiment

    assert hasattr(in_training_step(note)[0].tensorboard_logger, "add_scalar")


@stands_for(module=39)
def test_loggers():
    def note(module):
        loggers = module.loggers
        for logger in loggers:
            logger.log_metrics({"foo": 1.0})
            module.count["logged"] += 1

    assert in_training_step(note)[0].count["logged"] == 3


@stands_for(module=41)
def test_precision():
    def note(module):
        if module.precision == 16:
            module.count["half"] += 1

    assert in_training_step(note)[0].count["half"] == 0


@stands_for(module=42)
def test_trainer():
    def note(module):
        module.max_steps = module.trainer.max_steps
        module.any_flag = module.trainer.accumulate_grad_batches

    model, _ = in_training_step(note)
    assert (model.max_steps, model.any_flag) == (None, 1)
    with pytest.raises(AttributeError, match="Trainer has no attribute 'any_flag'"):
        in_training_step(lambda module: module.trainer.any_flag)


@stands_for(module=46)
def test_example_input_array():
    class Generating(OneStep):
        def __init__(self):
            super().__init__()
            self.example_input_array = torch.ones(5, 4)
            self.generator = nn.Linear(4, 8)

        def on_train_epoch_end(self):
            self.images = self.generator(self.example_input_array)
            super().on_train_epoch_end()

    assert fitted(Trainer(), Generating()).images.shape == (5, 8)


ORDER = [
    "prepare_data",
    "configure_callbacks",
    "on_fit_start",
    "setup",
    "configure_optimizers",
    "on_train_start",
    "on_train_epoch_start",
    "on_train_batch_start",
    "on_before_batch_transfer",
    "transfer_batch_to_device",
    "on_after_batch_transfer",
    "training_step",
    "on_before_backward",
    "backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "configure_gradient_clipping",
    "on_train_batch_end",
    "on_validation_model_eval",
    "on_validation_start",
    "on_validation_epoch_start",
    "on_validation_batch_start",
    "validation_step",
    "on_validation_batch_end",
    "validation_epoch_end",
    "on_validation_epoch_end",
    "on_validation_end",
    "on_validation_model_train",
    "training_epoch_end",
    "on_train_epoch_end",
    "on_train_end",
    "on_fit_end",
    "teardown",
]
"""The hooks of a fit of one batch. Where gradients are cleared, and that an `optimizer_step` that is overridden has the
training step within it, are told in `docs/hook_order.md`."""


@stands_for(module=50)
def test_hooks_in_their_order():
    called = []

    def noting(name):
        def hook(self, *args, **kwargs):
            called.append(name)
            return getattr(super(Noting, self), name)(*args, **kwargs)

        # Net.training_step and its like get what they ask for.
        hook.__signature__ = inspect.signature(getattr(Net, name))
        return hook

    class Noting(Net):
        def validation_epoch_end(self, outputs):
            called.append("validation_epoch_end")

        def training_epoch_end(self, outputs):
            called.append("training_epoch_end")

    for name in ORDER:
        if not name.endswith("_epoch_end") or name.startswith("on_"):
            setattr(Noting, name, noting(name))
    fitted(Trainer(max_epochs=1, limit_train_batches=1, limit_val_batches=1, num_sanity_val_steps=0), Noting(9))
    first = list(dict.fromkeys(called))
    assert first == ORDER
