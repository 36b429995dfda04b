"""What a logger is told of a run's end, and what a run says that is too short for its rows."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

import functrain_torch as pl
from functrain.loggers.base import Logger
from tests import inside


class Told(Logger):
    name, version = "told", 0  # type: ignore[assignment]

    def __init__(self) -> None:
        self.ends: list[str] = []
        self.steps: list[int | None] = []

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.steps.append(step)

    def log_hyperparams(self, params: Any, metrics: Any = None) -> None: ...

    def finalize(self, status: str) -> None:
        self.ends.append(status)


class Logging(pl.LightningModule):
    on_step, on_epoch = True, False

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.layer(batch).square().mean()
        self.log("loss", loss, on_step=self.on_step, on_epoch=self.on_epoch)
        return loss

    def test_step(self, batch: Any, batch_idx: int) -> None: ...

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader() -> Any:
    return torch.utils.data.DataLoader(torch.ones(4, 2))


def trainer(logger: Any, **flags: Any) -> pl.Trainer:
    quiet = {"checkpoint_callback": False, "progress_bar_refresh_rate": 0, "weights_summary": None, "max_epochs": 2}
    return pl.Trainer(logger=logger, **{**quiet, **flags})


def test_a_logger_is_told_of_a_good_end():
    log = Told()
    run = trainer(log, log_every_n_steps=1)
    run.fit(Logging(), loader())
    run.test(None, loader(), verbose=False)
    assert log.ends == ["success", "success"]


def test_a_logger_is_told_where_the_run_was_interrupted():
    class Interrupting(Logging):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            inside.interrupt(self.trainer)

    log = Told()
    trainer(log, log_every_n_steps=1).fit(Interrupting(), loader())
    assert log.ends == ["interrupted"]


def test_every_logger_is_told_also_where_one_of_them_fails():
    class Full(Told):
        def finalize(self, status: str) -> None:
            raise OSError("no space left")

    log = Told()
    with pytest.raises(OSError, match="no space left"):
        trainer([Full(), log], log_every_n_steps=1).fit(Logging(), loader())
    assert log.ends[0] == "success"


def test_a_run_too_short_for_step_rows_says_so():
    with pytest.warns(
        UserWarning, match=r"log_every_n_steps=50\) updates, so the loggers get no row of the steps' loss"
    ):
        trainer(Told()).fit(Logging(), loader())


@pytest.mark.parametrize(
    "case",
    [
        {"log_every_n_steps": 8},
        {"log_every_n_steps": 7},
        {"max_epochs": 13},
        {"max_epochs": -1, "max_steps": 50},
        {"logger": False},
        {"on_step": False, "on_epoch": True},
    ],
)
def test_a_run_that_writes_rows_or_has_none_says_nothing(case: dict[str, Any]):
    module = Logging()
    module.on_step, module.on_epoch = case.pop("on_step", True), case.pop("on_epoch", False)
    log = Told()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer(**{"logger": log, **case}).fit(module, loader())
    assert bool(log.steps) == ("logger" not in case)


def test_a_run_that_continues_counts_the_updates_to_come(tmp_path: Any):
    """It stands at 8 of 50 updates and goes on to 12: no row either; to 52: one."""
    first = trainer(Told(), log_every_n_steps=1)
    first.fit(Logging(), loader())
    first.save_checkpoint(tmp_path / "at8.ckpt")
    with pytest.warns(UserWarning, match="so the loggers get no row"):
        trainer(Told(), max_epochs=3).fit(Logging(), loader(), ckpt_path=str(tmp_path / "at8.ckpt"))
    log = Told()
    trainer(log, max_epochs=13).fit(Logging(), loader(), ckpt_path=str(tmp_path / "at8.ckpt"))
    assert log.steps == [50]
