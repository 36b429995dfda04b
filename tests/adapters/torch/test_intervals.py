"""Every "every n" counts what it names, also where several updates fall into one batch and run past a multiple."""

from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import ExponentialLR, StepLR

import functrain_torch as pl
from functrain.callbacks import ModelCheckpoint
from functrain.loggers.base import Logger
from tests import inside
from tests.adapters.torch.small import trainer
from tests.adapters.torch.test_sequences import Recurrent, sequences


class Pieces(Recurrent):
    """Three updates a batch; a scheduler that counts updates."""

    def __init__(self, make: Any = None, **config: Any) -> None:
        super().__init__(2)
        self.make, self.config = make, config
        self.rates: list[float] = []
        self.steps: list[int] = []

    def training_step(self, batch: Any, batch_idx: int, hiddens: Any) -> Any:
        self.steps.append(self.global_step)
        self.rates.append(self.optimizers().param_groups[0]["lr"])
        return super().training_step(batch, batch_idx, hiddens)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        if self.make is None:
            return optimizer
        return [optimizer], [{"scheduler": self.make(optimizer), "interval": "step", **self.config}]


class Flushes(Logger):
    """Remembers when it was written to and when it was flushed."""

    name = "flushes"  # type: ignore[assignment]
    version = 0  # type: ignore[assignment]

    def __init__(self) -> None:
        self.written: list[int | None] = []
        self.flushed: list[int | None] = []

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.written.append(step)

    def log_hyperparams(self, params: Any, metrics: Any = None) -> None:
        pass

    def save(self) -> None:
        self.flushed.append(self.written[-1])


def test_schedulers_that_count_updates_step_between_the_pieces_of_a_batch():
    model = Pieces(lambda optimizer: StepLR(optimizer, step_size=2, gamma=0.5))
    trainer(max_epochs=1).fit(model, sequences(4))
    assert model.rates == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025, 0.025])


def test_global_step_advances_between_the_pieces_of_a_batch():
    model = Pieces()
    run = trainer(max_epochs=2)
    run.fit(model, sequences(4))
    assert model.steps == list(range(12))
    assert run.global_step == 12


def test_global_step_advances_with_every_window_of_pieces():
    model = Pieces()
    trainer(max_epochs=1, accumulate_grad_batches=2).fit(model, sequences(4))
    assert model.steps == [0, 0, 1, 2, 2, 3]


def test_a_batch_in_pieces_is_one_batch_for_everybody():
    class Model(Pieces):
        def on_after_backward(self) -> None:
            self.seen.append((inside.clock(self.trainer).batch, self.global_step))

    model = Model()
    trainer(max_epochs=1).fit(model, sequences(4))
    own = [place for place in model.seen if len(place) == 2]
    assert own == [(0, 0), (0, 1), (0, 2), (1, 3), (1, 4), (1, 5)]


def test_a_scheduler_with_a_frequency_steps_once_in_so_many_pieces():
    model = Pieces(lambda optimizer: ExponentialLR(optimizer, 0.5), frequency=2)
    trainer(max_epochs=2).fit(model, sequences(4, steps=4))
    assert model.optimizers().param_groups[0]["lr"] == pytest.approx(0.1 * 0.5**4)  # 8 updates


def test_every_n_train_steps_saves_at_each_interval_that_the_pieces_of_a_batch_run_past(tmp_path: Any):
    saver = ModelCheckpoint(tmp_path, save_top_k=-1, every_n_train_steps=5, filename="{step}")
    trainer(max_epochs=3, callbacks=saver, checkpoint_callback=True).fit(Pieces(), sequences(6))
    # 27 updates, three a batch: 5, 10, 15, 20 and 25 are reached with batches that end at these.
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"step={n}.ckpt" for n in (12, 15, 21, 27, 6)]


def test_loggers_are_flushed_at_each_interval_that_the_pieces_of_a_batch_run_past():
    class Model(Pieces):
        def training_step(self, batch: Any, batch_idx: int, hiddens: Any) -> Any:
            self.log("step", 1.0)
            return super().training_step(batch, batch_idx, hiddens)

    logger = Flushes()
    trainer(max_epochs=1, logger=logger, log_every_n_steps=4, flush_logs_every_n_steps=10).fit(Model(), sequences(20))
    assert logger.written[:5] == [6, 9, 12, 18, 21]
    assert logger.flushed[:-1] == [12, 21, 30]


def test_loggers_are_flushed_where_the_interval_is_no_multiple_of_the_logs():
    class Model(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("step", 1.0)
            return self.weight.sum()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    logger = Flushes()
    run = trainer(max_epochs=1, logger=logger, log_every_n_steps=3, flush_logs_every_n_steps=5)
    run.fit(Model(), [torch.ones(1)] * 20)
    assert logger.written == [3, 6, 9, 12, 15, 18]
    assert logger.flushed[:-1] == [6, 12, 15]
