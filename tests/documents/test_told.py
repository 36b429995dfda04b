"""Names of the documents' objects that no block shows: what they are in a run."""

import torch
from torch.nn import functional

import functrain_torch as pl
from functrain.kernel.step import Rule, step
from functrain_torch import Trainer, callbacks
from tests.documents.standins import BATCHES, EVALUATED, Net, OneStep, fitted, loader, samples


def test_older_attributes():
    stopping = callbacks.EarlyStopping("val_loss")
    trainer = Trainer(callbacks=stopping)

    class Shown(OneStep):
        def training_step(self, batch, batch_idx):
            self.log("shown", 2.0, prog_bar=True)
            return super().training_step(batch, batch_idx)

        def val_dataloader(self):
            return loader(1)

    fitted(trainer, Shown())
    assert trainer.early_stopping_callbacks == [stopping]
    assert trainer.progress_bar_dict["shown"] == 2
    assert trainer.progress_bar_dict == trainer.progress_bar_metrics


def test_devices_and_processes(monkeypatch):
    trainer = Trainer()
    fitted(trainer)
    assert (trainer.root_gpu, trainer.num_gpus, trainer.data_parallel, trainer.node_rank) == (None, 0, False, 0)
    assert trainer.distributed_sampler_kwargs == {"num_replicas": 1, "rank": 0}
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert trainer.slurm_job_id is None
    monkeypatch.setenv("SLURM_JOB_ID", "1234")
    assert trainer.slurm_job_id == 1234


def test_mixed_precision_is_told():
    for precision, mixed in ((32, False), (64, False), (16, True), ("bf16", True)):
        assert Trainer(precision=precision).use_amp is mixed


def test_metrics_may_be_kept_on_the_cpu():
    class Logging(OneStep):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.log("loss", loss)
            return loss

    trainer = Trainer(move_metrics_to_cpu=True)
    fitted(trainer, Logging())
    assert torch.as_tensor(trainer.callback_metrics["loss"]).device.type == "cpu"


def test_the_callbacks_of_the_flags():
    made, _ = Trainer(stochastic_weight_avg=True).defaults()
    kinds = {type(callback) for callback in made}
    assert kinds >= {callbacks.ModelCheckpoint, callbacks.TQDMProgressBar, callbacks.ModelSummary}
    assert callbacks.StochasticWeightAveraging in kinds
    assert [type(callback) for callback in Trainer().averaging()] == [callbacks.StochasticWeightAveraging]


def test_every_loader_of_the_module():
    model = Net()
    trainer = Trainer()
    trainer.fit(model)
    trainer.test(model)
    assert model.count == {"train": 2 * BATCHES, "val": 2 * EVALUATED, "test": EVALUATED}
    assert len(trainer.predict(model)) == EVALUATED


class Data(pl.LightningDataModule):
    """Counts what is called, and adds one to a batch where it is told to."""

    def __init__(self):
        super().__init__()
        self.called = []

    def train_dataloader(self):
        return loader(2)

    def predict_dataloader(self):
        return torch.utils.data.DataLoader(samples(3))

    def on_before_batch_transfer(self, batch, dataloader_idx):
        self.called.append("before")
        return batch

    def transfer_batch_to_device(self, batch, device, dataloader_idx):
        self.called.append("transfer")
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def on_after_batch_transfer(self, batch, dataloader_idx):
        self.called.append("after")
        x, y = batch
        return [x + 1, y]

    def on_save_checkpoint(self, checkpoint):
        checkpoint["of the data"] = 7

    def on_load_checkpoint(self, checkpoint):
        self.called.append(checkpoint["of the data"])


class Unvalidated(OneStep):
    def training_step(self, batch, batch_idx):
        self.seen = batch[0]
        return super().training_step(batch, batch_idx)


def test_hooks_of_a_data_module():
    data, model = Data(), Unvalidated()
    trainer = Trainer()
    trainer.fit(model, data)
    assert data.trainer is trainer
    assert data.called == ["before", "transfer", "after"] * 2
    assert torch.equal(model.seen, list(loader(2))[-1][0] + 1)

    trainer.save_checkpoint("data.ckpt")
    again = Data()
    Trainer(max_epochs=2).fit(Unvalidated(), again, ckpt_path="data.ckpt")
    assert again.called[0] == 7


def test_a_data_module_is_found():
    data, trainer = Data(), Trainer()
    trainer.predict(Net(), data)
    assert trainer.datamodule is data
    assert [len(each) for each in trainer.predict_dataloaders] == [3]


class Stateful(callbacks.Callback):
    def __init__(self, name="one"):
        self.name, self.epochs, self.got = name, 0, None

    @property
    def state_key(self):
        return f"Stateful {self.name}"

    def on_train_epoch_start(self, trainer, pl_module):
        self.epochs += 1

    def state_dict(self):
        return {"epochs": self.epochs, "name": self.name}

    def load_state_dict(self, state_dict):
        self.got = state_dict


def test_state_of_callbacks():
    trainer = Trainer(callbacks=[Stateful("one"), Stateful("two")])
    fitted(trainer)
    trainer.save_checkpoint("both.ckpt")
    one, two = Stateful("one"), Stateful("two")
    Trainer(callbacks=[two, one], max_epochs=3).fit(Net(epochs=3), ckpt_path="both.ckpt")
    assert (one.got, two.got) == ({"epochs": 2, "name": "one"}, {"epochs": 2, "name": "two"})


class AtMoments(callbacks.Callback):
    def __init__(self):
        self.noted = []

    def every_n_updates(self):
        return 5

    def log_step(self, trainer, pl_module, metrics):
        metrics["added"] = 1.0

    def checkpoint(self, trainer, pl_module, moment):
        self.noted.append(("checkpoint", str(moment), trainer.global_step))

    def should_stop(self, trainer, pl_module, moment):
        self.noted.append(("should_stop", str(moment), trainer.global_step))


def test_moments_of_a_callback():
    watching = AtMoments()
    trainer = Trainer(callbacks=[watching], log_every_n_steps=4)
    fitted(trainer, Net(epochs=1))
    assert [step for what, moment, step in watching.noted if what == "checkpoint" and "steps" in moment] == [5, 10]
    assert {what for what, moment, step in watching.noted if step == BATCHES} == {"checkpoint", "should_stop"}
    assert trainer.logged_metrics["added"] == 1


def test_a_callback_that_looks_now_and_then():
    class Ticking(callbacks.Callback):
        tick_seconds = 0.0
        ticks = 0

        def tick(self, trainer, pl_module):
            self.ticks += 1

    ticking = Ticking()
    fitted(Trainer(callbacks=[ticking]))
    assert ticking.ticks


def test_two_names_of_the_bar():
    assert callbacks.ProgressBar is callbacks.TQDMProgressBar
    assert issubclass(callbacks.TQDMProgressBar, callbacks.ProgressBarBase)
    assert issubclass(callbacks.RichProgressBar, callbacks.ProgressBarBase)


def loss_of(params, batch):
    x, y = batch
    return functional.cross_entropy(x @ params["w"], y)


def test_steps_without_a_trainer():
    batch = next(iter(loader()))
    params = {"w": torch.ones(4, 2)}
    start = params["w"].clone().requires_grad_()
    expected = start.detach() - 0.1 * torch.autograd.grad(loss_of({"w": start}, batch), start)[0]

    made = pl.make_step(loss_of, lambda p: torch.optim.SGD(p, lr=0.1))
    assert isinstance(made, pl.LossStep)
    state, _ = made.step(made.init(params), [batch])
    assert torch.allclose(state.params["w"], expected)

    backend = pl.TorchBackend(lambda state, batch, player: loss_of(state.params, batch))
    state, _ = step(backend, (Rule(),), made.init(params), [batch])
    assert torch.allclose(state.params["w"], expected)


def test_the_step_of_a_module():
    model, by_itself = OneStep(), OneStep()
    by_itself.load_state_dict(model.state_dict())
    made = pl.functional(model)
    assert isinstance(made, pl.Step)
    state, _ = made.epoch(made.init(), model.train_dataloader())
    fitted(Trainer(), by_itself)
    assert torch.equal(state.params.layer.weight, by_itself.layer.weight)
