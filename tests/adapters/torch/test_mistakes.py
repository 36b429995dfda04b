"""Mistakes that would be silent: a step under a wrong name, a loader that nobody uses, an unknown argument."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

import functrain_torch as pl
from functrain.trainer.errors import ConfigurationError
from tests.structure.graph import ROOT


class Small(pl.LightningModule):
    def __init__(s, n: int = 1) -> None:
        super().__init__()
        s.save_hyperparameters()
        s.layer = torch.nn.Linear(2, n)

    def training_step(self, batch, batch_idx):
        return self.layer(batch).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def trainer(tmp_path):
    return pl.Trainer(
        max_epochs=1, logger=False, checkpoint_callback=False, progress_bar_refresh_rate=0, weights_summary=None,
        default_root_dir=str(tmp_path),
    )  # fmt: skip


def loader():
    return torch.utils.data.DataLoader(torch.ones(4, 2), batch_size=2)


@pytest.mark.parametrize(
    ("wrong", "meant"), [("validaton_step", "validation_step"), ("on_train_epoch_ends", "on_train_epoch_end")]
)
def test_a_misspelt_method_is_told(trainer, wrong, meant):
    kind = type("Misspelt", (Small,), {wrong: lambda self, *args: None, "__module__": __name__})
    with pytest.warns(UserWarning, match=f"Misspelt.{wrong} is never called: did you mean '{meant}'"):
        trainer.fit(kind(), loader())


def test_a_misspelt_method_is_told_whatever_the_package_of_the_user_is_called(trainer):
    kind = type(
        "Misspelt", (Small,), {"validation_epoch_ends": lambda self, *args: None, "__module__": "torchlab.nets"}
    )
    with pytest.warns(UserWarning, match=r"validation_epoch_ends is never called: did you mean 'validation_epoch_end'"):
        trainer.fit(kind(), loader())


def test_a_misspelt_method_of_a_callback_is_told(tmp_path):
    class Watching(pl.Callback):
        def on_validation_epoch_ends(self, trainer, pl_module): ...

    quiet = {"logger": False, "checkpoint_callback": False, "progress_bar_refresh_rate": 0, "weights_summary": None}
    with pytest.warns(UserWarning, match=r"Watching.on_validation_epoch_ends is never called"):
        pl.Trainer(max_epochs=1, callbacks=Watching(), **quiet).fit(Small(), loader())


def test_a_misspelt_method_of_a_data_module_is_told(trainer):
    class Data(pl.LightningDataModule):
        def train_dataloader(self):
            return loader()

        def prepare_dataa(self): ...

    with pytest.warns(UserWarning, match=r"Data.prepare_dataa is never called: did you mean 'prepare_data'"):
        trainer.fit(Small(), datamodule=Data())


@pytest.mark.parametrize("call", [lambda t, d: t.fit(Small(), datamodule=d), lambda t, d: t.fit(Small(), d)])
def test_a_class_as_datamodule_is_an_error_that_names_it(trainer, call):
    class Data(pl.LightningDataModule):
        def train_dataloader(self):
            return loader()

    with pytest.raises(ConfigurationError, match=r"datamodule=Data\): this is a class; give an instance"):
        call(trainer, Data)
    with pytest.raises(ConfigurationError, match=r"trainer.test\(datamodule=Data\): this is a class"):
        trainer.test(Small(), datamodule=Data)


def test_a_run_that_cannot_begin_leaves_the_trainer_free(trainer):
    class Refusing(Small):
        def __init__(self):
            """That of the base class is not called."""

    class Asking(Small):
        def on_train_start(self, what): ...

    for wrong, error in ((Refusing(), ConfigurationError), (Asking(), TypeError)):
        with pytest.raises(error):
            trainer.fit(wrong, loader())
    trainer.fit(Small(), loader())
    assert trainer.global_step == 2


def test_the_trainer_of_the_core_alone_says_where_the_whole_one_is():
    """Before, it trained without checkpoints, loggers and bar, and nobody was told."""
    code = "from functrain.trainer.trainer import Trainer; Trainer()"
    where = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=where)
    assert ran.returncode == 1
    assert "use `from functrain import Trainer`" in ran.stderr


def test_methods_of_ones_own_are_left_alone(trainer):
    class Own(Small):
        def _training_step(self, batch): ...

        def on_fire(self): ...

        def prepare(self): ...

    trainer.fit(Own(), loader())
    assert trainer.global_step == 2


def test_a_validation_loader_that_nobody_uses_is_told(trainer):
    with pytest.warns(UserWarning, match="Small defines no validation_step: nothing is validated"):
        trainer.fit(Small(), loader(), loader())


def test_loaders_and_a_datamodule_together_are_an_error(trainer):
    with pytest.raises(ConfigurationError, match="both given"):
        trainer.fit(Small(), loader(), datamodule=pl.LightningDataModule())


def test_the_first_argument_of_init_may_have_any_name(trainer, tmp_path):
    trainer.fit(Small(n=3), loader())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    assert Small.load_from_checkpoint(tmp_path / "a.ckpt").hparams.n == 3


def test_an_override_that_init_does_not_take_is_an_error(trainer, tmp_path):
    trainer.fit(Small(), loader())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(ConfigurationError, match=r"load_from_checkpoint\(m=3\): __init__ has no such argument"):
        Small.load_from_checkpoint(tmp_path / "a.ckpt", m=3)
