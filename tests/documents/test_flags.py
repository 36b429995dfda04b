"""The Trainer's flags, each as its block gives it: with no other flag beside it, and what it then does."""

import csv
import os

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from functrain_torch import ConfigurationError, Trainer, callbacks, seed_everything
from functrain_torch.callbacks import ModelCheckpoint
from functrain_torch.loggers import CSVLogger, TensorBoardLogger
from functrain_torch.profiler import AdvancedProfiler, PassThroughProfiler, SimpleProfiler
from tests.documents.blocks import stands_for
from tests.documents.standins import BATCHES, EVALUATED, Net, fitted, loader, samples

older = pytest.warns(DeprecationWarning, match="is the older name of")


class CountingUpdates(Net):
    """Net that writes down after how many batches of an epoch the weights changed."""

    def __init__(self, epochs=2):
        super().__init__(epochs)
        self.updates = []

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.updates.append((self.current_epoch, batch_idx + 1, self.global_step))

    def of_epoch(self, epoch):
        """Return the updates done after each batch of an epoch."""
        before = max((u for e, _, u in self.updates if e < epoch), default=0)
        return [u - before for e, _, u in self.updates if e == epoch]


@stands_for(trainer=10)
def test_reproducibility():
    weights = []
    for _ in range(2):
        seed_everything(42)
        model = Net()
        trainer = Trainer(deterministic=True)
        fitted(trainer, model)
        weights.append(model.layer.weight)
    assert torch.equal(*weights)
    assert torch.are_deterministic_algorithms_enabled()
    assert os.environ["HOROVOD_FUSION_THRESHOLD"] == "0"


@stands_for(trainer=(14, 15), notes=23, loops=1)
def test_accumulate_grad_batches():
    every = fitted(Trainer(accumulate_grad_batches=1), CountingUpdates())
    assert every.of_epoch(0) == list(range(1, BATCHES + 1))

    fourth = fitted(Trainer(accumulate_grad_batches=4), CountingUpdates())
    assert fourth.of_epoch(0) == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3]

    by_epoch = fitted(Trainer(accumulate_grad_batches={5: 3, 10: 20}), CountingUpdates(epochs=11))
    last = [by_epoch.of_epoch(epoch)[-1] for epoch in range(11)]
    assert last == [12] * 5 + [4] * 5 + [1]  # the last window is not whole, and steps too


@stands_for(trainer=16)
def test_amp_backend():
    assert fitted(Trainer(amp_backend="native")).count["train"] == 2 * BATCHES
    with pytest.raises(ConfigurationError, match=r"amp_backend='apex'\): this flag is documented but not available"):
        Trainer(amp_backend="apex")


@stands_for(trainer=17)
def test_amp_level():
    assert fitted(Trainer(amp_level="O2")).count["train"] == 2 * BATCHES


@stands_for(trainer=25)
def test_benchmark():
    assert fitted(Trainer(benchmark=False)).count["train"]
    assert torch.backends.cudnn.benchmark is False


@stands_for(trainer=26)
def test_deterministic():
    assert fitted(Trainer(deterministic=False)).count["train"]
    assert not torch.are_deterministic_algorithms_enabled()


@stands_for(trainer=29, notes=28, loops=14)
def test_check_val_every_n_epoch():
    every = fitted(Trainer(check_val_every_n_epoch=1), Net(epochs=10))
    assert every.count["val"] == 10 * EVALUATED
    tenth = fitted(Trainer(check_val_every_n_epoch=10), Net(epochs=10))
    assert set(tenth.validated_after) == {10 * BATCHES}


@stands_for(trainer=30, notes=29)
def test_checkpoint_callback():
    trainer = Trainer(checkpoint_callback=True)
    fitted(trainer)
    assert os.path.exists(trainer.checkpoint_callback.best_model_path)

    trainer = Trainer(checkpoint_callback=False, default_root_dir="elsewhere")
    fitted(trainer)
    assert not [name for _, _, names in os.walk("elsewhere") for name in names if name.endswith(".ckpt")]


@stands_for(trainer=31)
def test_checkpoint_callback_of_a_metric():
    checkpoint_callback = ModelCheckpoint(monitor="val_loss")
    trainer = Trainer(callbacks=[checkpoint_callback])
    fitted(trainer)
    assert trainer.checkpoint_callback is checkpoint_callback
    assert checkpoint_callback.best_model_score == pytest.approx(float(trainer.callback_metrics["val_loss"]), abs=0.5)
    assert os.path.exists(checkpoint_callback.best_model_path)


@stands_for(trainer=32, notes=30)
def test_default_root_dir(tmp_path):
    trainer = Trainer(default_root_dir=os.getcwd())
    fitted(trainer)
    assert trainer.default_root_dir == str(tmp_path)
    assert (tmp_path / "lightning_logs" / "version_0" / "checkpoints").is_dir()


@stands_for(trainer=(33, 34), notes=31)
def test_fast_dev_run(tmp_path):
    whole = fitted(Trainer(fast_dev_run=False, default_root_dir="whole"))
    assert whole.count["train"] == 2 * BATCHES

    for given, batches in ((True, 1), (7, 7)):
        trainer = Trainer(fast_dev_run=given)
        model = fitted(trainer)
        trainer.test(model)
        assert model.count == {"train": batches, "val": batches, "test": batches}
        assert trainer.current_epoch == 1
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


@stands_for(trainer=35)
def test_no_gpus():
    for given in (None, 0):
        assert fitted(Trainer(gpus=given)).device == torch.device("cpu")


@stands_for(trainer=37, loops=7)
def test_gradient_clip_val():
    class Measuring(Net):
        def loss(self, batch):
            return 100 * super().loss(batch)

        def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_idx, optimizer_closure):
            optimizer_closure()
            self.norms.append(float(torch.cat([p.grad.flatten() for p in self.parameters()]).norm()))
            optimizer.step()

    def norms(value):
        model = Measuring()
        model.norms = []
        return fitted(Trainer(gradient_clip_val=value), model).norms

    assert max(norms(0.0)) > 10
    assert max(norms(0)) > 10
    assert max(norms(0.5)) == pytest.approx(0.5, rel=1e-4)


@stands_for(trainer=38, notes=34)
def test_limit_test_batches():
    for limit, batches in ((1.0, 8), (0.25, 2), (10, 8), (5, 5)):
        model = Net()
        Trainer(limit_test_batches=limit).test(model)
        assert model.count["test"] == batches


@stands_for(trainer=39)
def test_limit_val_batches():
    for limit, batches in ((1.0, 8), (0.25, 2), (10, 8), (5, 5)):
        assert fitted(Trainer(limit_val_batches=limit), Net(epochs=1)).count["val"] == batches


@stands_for(trainer=(67, 68), notes=34)
def test_limit_train_batches():
    for limit, batches in ((1.0, 12), (0.25, 3), (10, 10)):
        assert fitted(Trainer(limit_train_batches=limit), Net(epochs=1)).count["train"] == batches


@stands_for(loops=(11, 15, 16))
def test_percents_to_check():
    with older:
        trainer = Trainer(train_percent_check=1.0)
    assert fitted(trainer, Net(epochs=1)).count["train"] == 12
    with older:
        trainer = Trainer(train_percent_check=0.1)
    assert fitted(trainer, Net(epochs=1)).count["train"] == 1

    with older:
        trainer = Trainer(val_percent_check=1.0)
    assert fitted(trainer, Net(epochs=1)).count["val"] == 8
    with older:
        trainer = Trainer(val_percent_check=0.1)
    with pytest.raises(ConfigurationError, match="of 8 batches this is none"):
        trainer.fit(Net())

    with older:
        trainer = Trainer(test_percent_check=1.0)
    trainer.test(model := Net())
    assert model.count["test"] == 8
    with older:
        trainer = Trainer(test_percent_check=0.1)
    with pytest.raises(ConfigurationError, match="of 8 batches this is none"):
        trainer.test(Net())


@stands_for(trainer=40, notes=36)
def test_log_gpu_memory():
    assert fitted(Trainer(log_gpu_memory=None)).count["train"]
    for value in ("all", "min_max"):
        with pytest.raises(ConfigurationError, match=rf"log_gpu_memory='{value}'\): this flag is documented but"):
            Trainer(log_gpu_memory=value)


@stands_for(trainer=41, notes=32)
def test_flush_logs_every_n_steps():
    flushed = []

    class Flushed(CSVLogger):
        def save(self):
            flushed.append(trainer.global_step)
            super().save()

    trainer = Trainer(flush_logs_every_n_steps=100, logger=Flushed("logs"))
    trainer.fit(Net(epochs=1), loader(250), loader(1))
    assert flushed[:2] == [100, 200]


@stands_for(trainer=64, notes=35)
def test_log_every_n_steps():
    def rows(**every):
        logger = CSVLogger("logs")
        trainer = Trainer(logger=logger, **every)
        trainer.fit(LoggingSteps(epochs=5))
        with open(f"{logger.log_dir}/metrics.csv", newline="") as file:
            return [int(row["step"]) for row in csv.DictReader(file) if row["each"]]

    assert len(rows()) == len(rows(log_every_n_steps=50)) == 1
    assert len(rows(log_every_n_steps=20)) == 3


class LoggingSteps(Net):
    def training_step(self, batch, batch_idx):
        self.log("each", 1.0)
        return super().training_step(batch, batch_idx)


@stands_for(trainer=42, notes=37)
def test_logger(tmp_path):
    for version in (1, 0):
        logger = TensorBoardLogger(save_dir=os.getcwd(), version=version, name="lightning_logs")
        fitted(Trainer(logger=logger))
        assert list((tmp_path / "lightning_logs" / f"version_{version}").glob("events.out.tfevents.*"))


@stands_for(trainer=43, notes=38)
def test_max_epochs():
    trainer = Trainer(max_epochs=1000)
    fitted(trainer)
    assert (trainer.max_epochs, trainer.current_epoch) == (1000, 2)


@stands_for(trainer=44, notes=39)
def test_min_epochs():
    trainer = Trainer(min_epochs=1)
    fitted(trainer, Net(epochs=0))
    assert trainer.current_epoch == 1


@stands_for(loops=4)
def test_min_and_max_epochs_by_their_older_names():
    with older:
        trainer = Trainer(min_nb_epochs=1, max_nb_epochs=1000)
    fitted(trainer)
    assert (trainer.min_epochs, trainer.max_epochs) == (1, 1000)


@stands_for(trainer=45, notes=40)
def test_max_steps():
    assert fitted(Trainer(max_steps=None)).count["train"] == 2 * BATCHES
    assert fitted(Trainer(max_steps=100), Net(epochs=1000)).count["train"] == 100


@stands_for(trainer=46, notes=41)
def test_min_steps():
    assert fitted(Trainer(min_steps=None)).count["train"] == 2 * BATCHES
    assert fitted(Trainer(min_steps=100, min_epochs=0)).count["train"] >= 100


@stands_for(trainer=49, notes=44)
def test_num_sanity_val_steps():
    class Checked(Net):
        def validation_step(self, batch, batch_idx):
            self.count["sanity"] += self.trainer.sanity_checking
            super().validation_step(batch, batch_idx)

    for steps, batches in ((2, 2), (0, 0), (-1, EVALUATED)):
        assert fitted(Trainer(num_sanity_val_steps=steps), Checked()).count["sanity"] == batches


@stands_for(loops=18)
def test_num_sanity_val_steps_by_its_older_name():
    with older:
        trainer = Trainer(nb_sanity_val_steps=5)
    assert trainer.num_sanity_val_steps == 5
    fitted(trainer)


@stands_for(trainer=51, notes=46)
def test_prepare_data_per_node():
    class Preparing(Net):
        def prepare_data(self):
            self.count["prepare"] += 1

    for given in (True, False):
        assert fitted(Trainer(prepare_data_per_node=given), Preparing()).count["prepare"] == 1


@stands_for(trainer=54, notes=45)
def test_overfit_batches():
    class Noting(Net):
        def __init__(self):
            super().__init__()
            self.seen = {"train": [], "val": []}

        def training_step(self, batch, batch_idx):
            self.seen["train"].append(batch[0])
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch, batch_idx):
            if not self.trainer.sanity_checking:
                self.seen["val"].append(batch[0])
            super().validation_step(batch, batch_idx)

    assert fitted(Trainer(overfit_batches=0.0), Noting()).count == {"train": 2 * BATCHES, "val": 2 * EVALUATED}

    model = fitted(Trainer(overfit_batches=10), Noting())
    assert model.count == {"train": 20, "val": 20}
    assert all(torch.equal(a, b) for a, b in zip(model.seen["train"], model.seen["val"], strict=True))

    with pytest.raises(ConfigurationError, match="of 12 batches this is none"):
        fitted(Trainer(overfit_batches=0.01))
    assert fitted(Trainer(overfit_batches=0.01), Large()).count["train"] == 2


class Large(Net):
    """Net with a hundred batches."""

    def train_dataloader(self):
        return loader(100)


@stands_for(trainer=55, notes=47)
def test_precision():
    assert fitted(Trainer(precision=32)).dtype == torch.float32

    class Noting(Net):
        def loss(self, batch):
            self.computed_in = self(batch[0]).dtype
            return super().loss(batch)

    model = fitted(Trainer(precision=16), Noting())
    assert (model.computed_in, model.dtype) == (torch.float16, torch.float32)


@stands_for(trainer=56)
def test_precision_of_one_day():
    with pytest.raises(ConfigurationError, match=r"precision=14\): must be one of 64, 32, 16"):
        Trainer(precision=8 | 4 | 2)


@stands_for(trainer=57)
def test_process_position():
    trainer = Trainer(process_position=0)
    fitted(trainer)
    assert trainer.progress_bar_callback.process_position == 0


@stands_for(trainer=58, notes=48)
def test_profiler(capsys):
    trainer = Trainer(profiler=None)
    fitted(trainer)
    assert isinstance(trainer.profiler, PassThroughProfiler)

    for name, kind in (("simple", SimpleProfiler), ("advanced", AdvancedProfiler)):
        trainer = Trainer(profiler=name)
        fitted(trainer)
        assert isinstance(trainer.profiler, kind)
        assert trainer.profiler.summary()


@stands_for(trainer=59, notes=49)
def test_progress_bar_refresh_rate(capsys):
    fitted(Trainer(progress_bar_refresh_rate=1))
    shown = capsys.readouterr()
    assert "Epoch 1" in shown.out + shown.err
    trainer = Trainer(progress_bar_refresh_rate=0)
    fitted(trainer)
    shown = capsys.readouterr()
    assert trainer.progress_bar_callback is None
    assert "Epoch 1" not in shown.out + shown.err


@stands_for(trainer=60, notes=50)
def test_reload_dataloaders_every_epoch():
    class Counting(Net):
        def train_dataloader(self):
            self.count["asked"] += 1
            return super().train_dataloader()

    assert fitted(Trainer(), Counting(epochs=3)).count["asked"] == 1
    with older:
        trainer = Trainer(reload_dataloaders_every_epoch=True)
    assert fitted(trainer, Counting(epochs=3)).count["asked"] == 3


@stands_for(trainer=61)
def test_replace_sampler_ddp():
    assert fitted(Trainer(replace_sampler_ddp=True)).count["train"] == 2 * BATCHES


@stands_for(trainer=63, notes=51)
def test_resume_from_checkpoint():
    assert fitted(Trainer(resume_from_checkpoint=None)).count["train"] == 2 * BATCHES

    trainer = Trainer(max_epochs=1)
    fitted(trainer)
    os.makedirs("some/path/to")
    trainer.save_checkpoint("some/path/to/my_checkpoint.ckpt")
    model = Net()
    trainer = Trainer(resume_from_checkpoint="some/path/to/my_checkpoint.ckpt")
    trainer.fit(model)
    assert model.count["train"] == BATCHES  # of the second epoch
    assert trainer.current_epoch == 2


@stands_for(trainer=65)
def test_sync_batchnorm():
    with pytest.raises(ConfigurationError, match=r"sync_batchnorm=True\): this flag is documented but not available"):
        Trainer(sync_batchnorm=True)


@stands_for(trainer=66)
def test_track_grad_norm():
    def logged(norm):
        trainer = Trainer(track_grad_norm=norm)
        fitted(trainer)
        return {name for name in trainer.logged_metrics if name.startswith("grad_")}

    assert logged(-1) == set()
    assert logged(2) == set()  # of 24 updates none is the fiftieth
    trainer = Trainer(track_grad_norm=2, log_every_n_steps=1)
    fitted(trainer)
    assert any(name.startswith("grad_2") for name in trainer.logged_metrics)


@stands_for(trainer=73, notes=52, loops=17)
def test_val_check_interval():
    for interval, after in ((1.0, [12]), (0.95, [11]), (0.25, [3, 6, 9, 12])):
        model = fitted(Trainer(val_check_interval=interval), Net(epochs=1))
        assert sorted(set(model.validated_after)) == after

    class Streamed(Net):
        def train_dataloader(self):
            return DataLoader(Stream(), batch_size=None)

    for interval in (1000, 100):
        model = fitted(Trainer(val_check_interval=interval), Streamed(epochs=1))
        assert sorted(set(model.validated_after)) == list(range(interval, 1001, interval))


class Stream(IterableDataset):
    """A thousand batches, their number unknown before."""

    def __iter__(self):
        return iter([(torch.ones(1, 4), torch.ones(1).long())] * 1000)


@stands_for(trainer=(74, 75), notes=53)
def test_weights_save_path(tmp_path):
    fitted(Trainer(weights_save_path=os.getcwd()))
    trainer = Trainer(weights_save_path="my/path")
    fitted(trainer)
    assert os.path.abspath(trainer.checkpoint_callback.best_model_path).startswith(str(tmp_path / "my" / "path"))

    checkpoint = ModelCheckpoint(dirpath="some/path")
    trainer = Trainer(callbacks=[checkpoint], weights_save_path="my/path")
    fitted(trainer)
    assert os.path.abspath(checkpoint.best_model_path).startswith(str(tmp_path / "some" / "path"))


@stands_for(trainer=76, notes=54)
def test_weights_summary(capsys):
    for given, shown in (("top", True), ("full", True), (None, False)):
        fitted(Trainer(weights_summary=given))
        assert ("Linear" in capsys.readouterr().out) is shown


@stands_for(notes=21)
def test_all_flags_at_their_defaults():
    with older:
        trainer = Trainer(
            logger=True, checkpoint_callback=True, callbacks=None, default_root_dir=None, gradient_clip_val=0,
            process_position=0, num_nodes=1, num_processes=1, gpus=None, auto_select_gpus=False, tpu_cores=None,
            log_gpu_memory=None, progress_bar_refresh_rate=1, overfit_batches=0.0, track_grad_norm=-1,
            check_val_every_n_epoch=1, fast_dev_run=False, accumulate_grad_batches=1, max_epochs=1000, min_epochs=1,
            max_steps=None, min_steps=None, limit_train_batches=1.0, limit_val_batches=1.0, limit_test_batches=1.0,
            val_check_interval=1.0, flush_logs_every_n_steps=100, log_every_n_steps=50, accelerator=None,
            sync_batchnorm=False, precision=32, weights_summary="top", weights_save_path=None, num_sanity_val_steps=2,
            truncated_bptt_steps=None, resume_from_checkpoint=None, profiler=None, benchmark=False, deterministic=False,
            reload_dataloaders_every_epoch=False, auto_lr_find=False, replace_sampler_ddp=True, terminate_on_nan=False,
            auto_scale_batch_size=False, prepare_data_per_node=True, plugins=None, amp_backend="native", amp_level="O2",
            distributed_backend=None, automatic_optimization=None, move_metrics_to_cpu=False, enable_pl_optimizer=None,
        )  # fmt: skip
    assert fitted(trainer).count["train"] == 2 * BATCHES
    with pytest.raises(TypeError):
        Trainer(True, True)


@stands_for(trainer=(22, 23, 24), notes=26)
def test_auto_lr_find():
    assert fitted(Trainer(auto_lr_find=False)).hparams.learning_rate == 0.1

    model = Net()
    trainer = Trainer(auto_lr_find=True)
    trainer.tune(model)
    assert model.hparams.learning_rate != 0.1

    class Renamed(Net):
        def __init__(self, my_lr_arg=0.1):
            super().__init__()
            self.save_hyperparameters()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=self.hparams.my_lr_arg)

    model = Renamed()
    trainer = Trainer(auto_lr_find="my_lr_arg")
    trainer.tune(model)
    assert model.hparams.my_lr_arg != 0.1


@stands_for(trainer=20, notes=24)
def test_auto_scale_batch_size():
    class Sized(Net):
        def __init__(self, batch_size=2):
            super().__init__()
            self.save_hyperparameters()

        def train_dataloader(self):
            return DataLoader(samples(64), batch_size=self.hparams.batch_size)

    assert fitted(Trainer(auto_scale_batch_size=None), Sized()).hparams.batch_size == 2

    model = Sized()
    trainer = Trainer(auto_scale_batch_size="binsearch")
    trainer.tune(model)
    assert model.hparams.batch_size > 2


@stands_for(trainer=(27, 28), notes=27)
def test_callbacks(capsys):
    class PrintCallback(callbacks.Callback):
        def on_train_start(self, trainer, pl_module):
            print("begins")

        def on_train_end(self, trainer, pl_module):
            print("is over")

    fitted(Trainer(callbacks=[PrintCallback()]))
    shown = capsys.readouterr().out
    assert shown.index("begins") < shown.index("is over")
