"""Mistakes that would be silent: a step under a wrong name, a loader that nobody uses, an unknown argument."""

from __future__ import annotations

import pytest
import torch

import functrain_torch as pl
from functrain.trainer.errors import ConfigurationError


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
