"""Which weights `ckpt_path` means: 'best', 'last', a path, None, or nothing said."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

import functrain_torch as pl
from functrain.trainer.errors import ConfigurationError
from functrain_torch.callbacks import ModelCheckpoint


class Counting(pl.LightningModule):
    """Its one weight is the number of updates; the smaller `score` says, the better."""

    def __init__(self, scores: tuple[float, ...] = (1.0, 0.0, 2.0)) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.scores = scores
        self.tested: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return -self.weight * batch.mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("score", self.scores[min(self.current_epoch, len(self.scores) - 1)])

    def note(self, batch: Any, batch_idx: int) -> None:
        self.tested.append(self.weight.item())

    test_step = predict_step = note

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def batch() -> Any:
    return torch.utils.data.DataLoader(torch.ones(1))


def trainer(**flags: Any) -> pl.Trainer:
    quiet = {"logger": False, "progress_bar_refresh_rate": 0, "weights_summary": None, "num_sanity_val_steps": 0}
    return pl.Trainer(**{**quiet, "max_epochs": 3, **flags})


def fitted(directory: Path, **flags: Any) -> tuple[pl.Trainer, Counting]:
    """Three epochs of one update: the best has made 2, the last 3."""
    saver = ModelCheckpoint(directory, monitor="score", save_last=True)
    run, module = trainer(callbacks=saver, **flags), Counting()
    run.fit(module, batch(), batch())
    return run, module


@pytest.mark.parametrize("stage", ["test", "predict", "validate"])
def test_best_means_the_best_also_where_the_model_is_given(tmp_path: Path, stage: str):
    run, module = fitted(tmp_path)
    getattr(run, stage)(module, batch(), ckpt_path="best")
    assert module.weight == 2


@pytest.mark.parametrize("stage", ["test", "predict", "validate"])
def test_last_means_the_newest(tmp_path: Path, stage: str):
    run, _ = fitted(tmp_path)
    other = Counting()
    getattr(run, stage)(other, batch(), ckpt_path="last")
    assert other.weight == 3


def test_only_a_call_that_names_neither_model_nor_checkpoint_takes_the_best_by_itself(tmp_path: Path):
    run, module = fitted(tmp_path)
    run.test(module, batch(), verbose=False)
    run.test(None, batch(), ckpt_path=None, verbose=False)
    run.test(None, batch(), verbose=False)
    assert module.tested == [3, 3, 2]


@pytest.mark.parametrize("stage", ["test", "predict", "validate", "fit"])
@pytest.mark.parametrize("flags", [{"checkpoint_callback": False}, {}])
def test_best_without_a_checkpoint_is_an_error(stage: str, flags: dict[str, Any]):
    run = trainer(**flags)
    with pytest.raises(ConfigurationError, match=rf"{stage}\(ckpt_path='best'\): there is no such checkpoint"):
        getattr(run, stage)(Counting(), batch(), ckpt_path="best")


def test_last_without_a_checkpoint_is_an_error_where_weights_are_evaluated():
    with pytest.raises(ConfigurationError, match=r"test\(ckpt_path='last'\): there is no such checkpoint"):
        trainer().test(Counting(), batch(), ckpt_path="last")


def test_without_a_checkpoint_a_test_takes_the_weights_as_they_are():
    run, module = trainer(checkpoint_callback=False), Counting()
    run.fit(module, batch(), batch())
    run.test(None, batch(), verbose=False)
    assert module.tested == [3]


def test_a_script_that_always_says_last_begins_and_goes_on(tmp_path: Path, capsys: Any):
    """As a machine that may be taken away at any time runs it: the same call again and again."""
    modules = []
    for epochs in (1, 2, 3):
        saver, module = ModelCheckpoint(tmp_path, save_last=True), Counting((0.0,) * 3)
        trainer(callbacks=saver, max_epochs=epochs).fit(module, batch(), batch(), ckpt_path="last")
        modules.append(module)
        said = capsys.readouterr().out
        assert ("starts from the beginning" in said) == (epochs == 1)
        assert ("Continuing from" in said) == (epochs > 1)
    assert [module.weight.item() for module in modules] == [1, 2, 3]


def test_last_of_this_trainer_goes_before_what_else_stands_there(tmp_path: Path):
    run, module = fitted(tmp_path)
    other = Counting()
    trainer(max_epochs=1, callbacks=ModelCheckpoint(tmp_path / "other")).fit(other, batch(), batch())
    stranger = next((tmp_path / "other").iterdir())
    os.replace(stranger, tmp_path / "newer.ckpt")
    run.test(module, batch(), ckpt_path="last", verbose=False)
    assert module.tested == [3]


@pytest.mark.parametrize("stage", ["test", "predict", "validate", "fit"])
@pytest.mark.parametrize("wrong", [3, True, ["a.ckpt"]])
def test_what_names_no_checkpoint_is_an_error_that_names_it(stage: str, wrong: Any):
    with pytest.raises(ConfigurationError, match=rf"{stage}\(ckpt_path=.*names no checkpoint"):
        getattr(trainer(), stage)(Counting(), batch(), ckpt_path=wrong)


def test_after_another_model_was_tested_the_fitted_one_is_still_the_one(tmp_path: Path):
    run, module = fitted(tmp_path)
    run.test(Counting(), batch(), verbose=False)
    run.test(None, batch(), verbose=False)
    assert module.tested == [2]
    run.save_checkpoint(tmp_path / "after.ckpt")
