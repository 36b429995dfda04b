"""A dispatch runs past the places where step metrics are written: the rows are those of a run that stops at each."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import functrain_jax as ft
from functrain.callbacks import LambdaCallback, LearningRateMonitor
from functrain.loggers import CSVLogger, Logger
from functrain.trainer.callback import Callback
from functrain.trainer.errors import NotFiniteError
from tests import inside
from tests.adapters.jax.common import Batches, Endless, Plain, everything, same


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """The loop looks up when it must, however long that takes."""
    inside.look_up_at_events_only(monkeypatch)


def trainer(path=None, **flags):
    quiet = {"checkpoint_callback": False, "progress_bar_refresh_rate": 0, "weights_summary": None}
    return ft.Trainer(**quiet, default_root_dir=None if path is None else str(path), **flags)


EACH_BATCH = LambdaCallback(on_train_batch_end=lambda *a: None)


class Rows(Logger):
    """Keeps the rows, and what the Trainer showed meanwhile; may get them late."""

    name, version = "rows", 0
    may_lag = True

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self.run: Any = None
        self.flushed: list[int] = []

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        run = self.run
        shown = {name: float(value) for name, value in run.callback_metrics.items()}
        self.rows.append((step, list(metrics.items()), run.global_step, run.current_epoch, shown))

    def log_hyperparams(self, params: Any, metrics: Any = None) -> None: ...

    def save(self) -> None:
        self.flushed.append(len(self.rows))


class Now(Rows):
    """Says nothing of being late, so it is not."""

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        super().log_metrics(metrics, step)


class Drawn(Endless):
    """Counts the batches that were asked for."""

    def __init__(self, batches: Any, fails: int | None = None, bad: int | None = None) -> None:
        super().__init__(list(batches))
        self.drawn, self.fails, self.bad = 0, fails, bad

    def __iter__(self):
        for i, (x, y) in enumerate(self.batches):
            if i == self.fails:
                raise OSError("the disk is gone")
            self.drawn += 1
            yield (x if i != self.bad else np.full_like(x, np.nan)), y


class Logging(Plain):
    """Logs values of several types, and from a hook as well."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.log("both", loss * 2, on_step=True, on_epoch=True)
        self.log("index", batch_idx, prog_bar=True)
        self.log("only_epoch", loss, on_step=False, on_epoch=True)
        return loss

    def on_train_epoch_start(self):
        self.log("begin", float(self.current_epoch), on_step=True, on_epoch=False)


class Two(ft.Module):
    """Two optimizers of different turns, each of which logs its own name."""

    def __init__(self):
        self.a, self.b = (nnx.Linear(6, 1, rngs=nnx.Rngs(seed)) for seed in (0, 1))

    def training_step(self, batch, batch_idx, optimizer_idx):
        part = "ab"[optimizer_idx]
        loss = getattr(self, part)(batch[0]).var()
        self.log(f"loss_{part}", loss)
        return loss

    def configure_optimizers(self):
        return [
            {"optimizer": optax.sgd(0.01), "frequency": 2, "params": "a"},
            {"optimizer": optax.sgd(0.02), "frequency": 3, "params": "b"},
        ]


def schedule():
    return optax.exponential_decay(0.1, 1, 0.5)


TXS = {
    "a schedule": lambda: optax.adam(schedule()),
    "hyperparameters in the state": lambda: optax.inject_hyperparams(optax.sgd)(learning_rate=schedule(), momentum=0.9),
    "a number": lambda: optax.adamw(0.01),
}


def rows_of(module, loader, each_batch=False, **flags):
    ft.seed_everything(1)
    logger, monitor = Rows(), LearningRateMonitor("step")
    callbacks = [monitor, *([EACH_BATCH] if each_batch else [])]
    logger.run = run = trainer(logger=logger, callbacks=callbacks, log_every_n_steps=2, **flags)
    run.fit(module, loader)
    return logger, monitor, run


FLAGS = {
    "plain": {},
    "windows": {"accumulate_grad_batches": 3},
    "windows of two lengths": {"accumulate_grad_batches": {0: 2, 1: 1}},
    "watched": {"terminate_on_nan": True},
    "watched, in windows": {"terminate_on_nan": True, "accumulate_grad_batches": 2},
    "validation within": {"val_check_interval": 5, "flush_logs_every_n_steps": 4},
    "a limit": {"max_steps": 11},
    "odd": {"limit_train_batches": 11},
}


@pytest.mark.parametrize("loader", ["sized", "endless"])
@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS.keys())
def test_rows_do_not_depend_on_how_many_steps_are_dispatched_at_once(flags, loader):
    ends = []
    for each_batch in (False, True):
        batches = Batches() if loader == "sized" else Endless(list(Batches()))
        logger, monitor, run = rows_of(Logging(), batches, each_batch, max_epochs=3, **flags)
        assert len(logger.rows) > 3
        ends.append((logger.rows, logger.flushed, monitor.lrs, everything(run)))
    assert ends[0][:3] == ends[1][:3]
    same(ends[0][3], ends[1][3])


@pytest.mark.parametrize("tx", TXS.values(), ids=TXS.keys())
def test_the_learning_rate_of_a_row_is_that_of_its_step(tx):
    many, each = (rows_of(Logging(tx()), Batches(), each_batch, max_epochs=2)[1].lrs for each_batch in (False, True))
    assert many == each
    assert len(many["lr"]) == 12


def test_rows_of_optimizers_that_take_turns_have_the_values_of_their_last_turn():
    ends = [rows_of(Two(), Batches(), each, max_epochs=2)[0].rows for each in (False, True)]
    for many, each in zip(*ends, strict=True):
        assert (many[0], dict(many[1]), many[2:]) == (each[0], dict(each[1]), each[2:])


def test_a_dispatch_ends_at_a_row_only_for_who_does_not_say_that_it_may_come_late():
    drawn = {}
    for kind in (Rows, Now):
        loader, seen = Drawn(Batches()), []

        class Noting(kind):
            may_lag = kind.may_lag and kind is Rows

            def log_metrics(self, metrics, step=None, seen=seen, loader=loader):
                seen.append((step, loader.drawn))

        trainer(logger=Noting(), max_epochs=1, log_every_n_steps=4).fit(Plain(), loader)
        drawn[kind] = seen
    assert drawn[Rows] == [(4, 12), (8, 12), (12, 12)]
    assert drawn[Now] == [(4, 4), (8, 8), (12, 12)]


def test_a_logger_of_ones_own_stops_the_run_at_its_row(tmp_path):
    class Stopping(CSVLogger):
        def log_metrics(self, metrics, step=None):
            super().log_metrics(metrics, step)
            run.should_stop = step >= 4

    run = trainer(logger=Stopping(str(tmp_path)), max_epochs=2, min_epochs=0, log_every_n_steps=2)
    run.fit(Plain(), Batches())
    assert run.global_step == 4


def test_a_callback_of_ones_own_sees_the_run_at_its_row():
    class Looking(Callback):
        def __init__(self):
            self.seen = []

        def log_step(self, trainer, pl_module, metrics):
            self.seen.append((trainer.global_step, int(inside.train_state(trainer).clock.update)))

    looking = Looking()
    logger = Rows()
    logger.run = run = trainer(logger=logger, max_epochs=1, log_every_n_steps=4, callbacks=[looking])
    run.fit(Plain(), Batches())
    assert looking.seen == [(4, 4), (8, 8), (12, 12)]


@pytest.mark.parametrize("each_batch", [False, True], ids=["many at once", "one by one"])
def test_rows_of_before_a_loss_that_is_not_finite_are_written(each_batch):
    loader = Drawn(Batches(), bad=5)
    logger = Rows()
    callbacks = [EACH_BATCH] if each_batch else []
    logger.run = run = trainer(logger=logger, callbacks=callbacks, log_every_n_steps=2, terminate_on_nan=True)
    with pytest.raises(NotFiniteError, match="batch 5"):
        run.fit(Plain(), loader)
    assert [row[0] for row in logger.rows] == [2, 4]


@pytest.mark.parametrize("each_batch", [False, True], ids=["many at once", "one by one"])
@pytest.mark.parametrize(("fails", "steps"), [(5, [2, 4]), (6, [2, 4, 6])])
def test_rows_of_before_an_error_of_the_loader_are_written(each_batch, fails, steps):
    logger = Rows()
    callbacks = [EACH_BATCH] if each_batch else []
    logger.run = run = trainer(logger=logger, callbacks=callbacks, log_every_n_steps=2)
    with pytest.raises(OSError, match="the disk is gone"):
        run.fit(Plain(), Drawn(Batches(), fails=fails))
    assert [row[0] for row in logger.rows] == steps


def test_what_a_failing_logger_leaves_is_where_the_run_is():
    class Failing(Rows):
        may_lag = True

        def log_metrics(self, metrics, step=None):
            super().log_metrics(metrics, step)
            if step == 4:
                raise OSError("disk full")

    logger = Failing()
    logger.run = run = trainer(logger=logger, max_epochs=1, log_every_n_steps=2)
    with pytest.raises(OSError, match="disk full"):
        run.fit(Plain(), Batches())
    assert run.global_step == int(inside.train_state(run).clock.update) == 12


def test_rows_of_a_convolution_which_runs_step_by_step():
    class Conv(Plain):
        def __init__(self):
            self.params = {"w": 0.1 * jnp.ones((3, 1, 1)), "b": jnp.zeros(1)}
            self.tx = optax.adam(schedule())

        def training_step(self, batch, batch_idx):
            x = batch[0][:, :, None]
            out = jax.lax.conv_general_dilated(
                x, self.params["w"], (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")
            )
            loss = ((out + self.params["b"]) ** 2).mean()
            self.log("loss", loss)
            return loss

    ends = []
    for each_batch in (False, True):
        logger, monitor, run = rows_of(Conv(), Batches(), each_batch, max_epochs=2)
        ends.append((logger.rows, monitor.lrs, everything(run)))
    assert ends[0][:2] == ends[1][:2]
    same(ends[0][2], ends[1][2])


def test_a_checkpoint_in_mid_epoch_and_the_rows_after_it(tmp_path):
    """Saved where a validation has cut the dispatch, between two rows."""

    class Saving(Callback):
        def on_validation_end(self, trainer, pl_module):
            trainer.save_checkpoint(str(tmp_path / f"{trainer.global_step}.ckpt"))

    whole = Rows()
    whole.run = run = trainer(
        tmp_path, logger=whole, callbacks=[Saving()], max_epochs=1, log_every_n_steps=2, val_check_interval=5,
        num_sanity_val_steps=0,
    )  # fmt: skip

    class Validating(Logging):
        def validation_step(self, batch, batch_idx):
            self.log("val", batch[0].mean())

    run.fit(Validating(), Batches(), Batches(n=16))
    rest = Rows()
    rest.run = again = trainer(
        tmp_path, logger=rest, max_epochs=1, log_every_n_steps=2, val_check_interval=5, num_sanity_val_steps=0
    )
    again.fit(Validating(), Batches(), Batches(n=16), ckpt_path=str(tmp_path / "5.ckpt"))
    assert [row for row in whole.rows if row[0] > 5] == [row for row in rest.rows if row[0] > 5]
    same(everything(run), everything(again))
