"""Limits, minima and maxima; when validation runs; fast_dev_run, overfit_batches, the sanity check."""

import datetime
import time
from typing import Any

import pytest
import torch

import functrain_torch as pl
from tests.adapters.torch.small import Net, Validated, batches, same, stream, trainer


class Telling(Validated):
    """Notes every training batch and every validation: `3` and `v`, epochs apart by `|`."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def on_train_epoch_start(self) -> None:
        self.told.append("|")

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.told.append(str(batch_idx))
        return self.loss(batch)

    def on_validation_epoch_start(self) -> None:
        self.told.append("v")

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.told.append(".")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.told.append("t")


def told(train: Any = None, val: Any = None, **flags: Any) -> str:
    model = Telling()
    train = batches(4) if train is None else train
    val = batches(1) if val is None else val
    trainer(**{"max_epochs": 1, "num_sanity_val_steps": 0, **flags}).fit(model, train, val)
    return "".join(model.told)


def without_val(**flags: Any) -> str:
    return told(limit_val_batches=0, **flags)


# how much


@pytest.mark.parametrize(("limit", "count"), [(1, 1), (3, 3), (9, 4), (0.5, 2), (0.75, 3), (1.0, 4), (0.26, 1)])
def test_limit_train_batches(limit: Any, count: int):
    assert without_val(limit_train_batches=limit) == "|" + "0123"[:count]


@pytest.mark.parametrize(("limit", "count"), [(1, 1), (0.5, 2), (1.0, 4)])
def test_limit_val_batches(limit: Any, count: int):
    assert told(batches(1), batches(4), limit_val_batches=limit) == "|0v" + "." * count


def test_limit_val_batches_0_runs_none():
    assert told(batches(1), limit_val_batches=0) == told(batches(1), limit_val_batches=0.0) == "|0"


def test_a_fraction_that_is_no_batch_is_an_error():
    with pytest.raises(pl.ConfigurationError, match=r"limit_train_batches=0\.1\): of 4 batches this is none"):
        told(limit_train_batches=0.1)
    with pytest.raises(pl.ConfigurationError, match=r"limit_train_batches=1\.5\): a float is a fraction, at most 1\.0"):
        told(limit_train_batches=1.5)


def test_a_limit_shortens_the_last_window():
    """Three of four batches, two an update: the third steps alone."""
    run = trainer(max_epochs=1, limit_train_batches=3, accumulate_grad_batches=2)
    run.fit(Net(), batches(4))
    assert run.global_step == 2


# how long


def test_max_steps_ends_within_an_epoch():
    assert without_val(max_steps=6, max_epochs=None) == "|0123|01"


def test_max_steps_counts_updates():
    assert without_val(max_steps=3, max_epochs=None, accumulate_grad_batches=2) == "|0123|01"


def test_the_earliest_maximum_ends():
    assert without_val(max_steps=100, max_epochs=2) == without_val(max_steps=8, max_epochs=5) == "|0123|0123"


@pytest.mark.parametrize("flags", [{"max_epochs": 0}, {"max_steps": 0}])
def test_nothing_at_all(flags: dict[str, Any]):
    assert without_val(**flags) == ""


class Stopping(pl.Callback):
    """Asks for a stop after the first batch."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any) -> None:
        trainer.should_stop = True


def test_a_stop_waits_for_the_first_epoch():
    assert without_val(max_epochs=5, callbacks=Stopping()) == "|0123"


def test_a_stop_at_once():
    assert without_val(max_epochs=5, min_epochs=0, callbacks=Stopping()) == "|0"


def test_a_stop_waits_for_both_minima():
    assert without_val(max_epochs=5, min_epochs=2, callbacks=Stopping()) == "|0123|0123"
    assert without_val(max_epochs=5, min_steps=6, callbacks=Stopping()) == "|0123|01"
    assert without_val(max_epochs=5, min_epochs=2, min_steps=9, callbacks=Stopping()) == "|0123|0123|0"


def test_a_stop_asked_for_in_the_step_is_met_at_the_next_batch():
    class Model(Telling):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.trainer.should_stop = batch_idx == 1
            return super().training_step(batch, batch_idx)

    model = Model()
    run = trainer(max_epochs=5, min_epochs=0)
    run.fit(model, batches(4))
    assert "".join(model.told) == "|01"
    assert run.global_step == 2


def test_a_cut_epoch_ends_with_its_hooks():
    ended = []

    class Model(Telling):
        def on_train_epoch_end(self) -> None:
            ended.append((self.current_epoch, self.global_step))

    trainer(max_steps=6).fit(Model(), batches(4))
    assert ended == [(0, 4), (1, 6)]


@pytest.mark.parametrize("limit", ["00:00:00:00", datetime.timedelta(0), {"seconds": 0}])
def test_max_time(limit: Any):
    assert without_val(max_time=limit, max_epochs=None) == ""


def test_max_time_is_looked_at_while_batches_pass():
    """Not only where something else is due: 200 slow batches lie before the next log."""

    class Slow(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            time.sleep(0.02)
            return self.loss(batch)

    run = trainer(max_time={"seconds": 0.3}, log_every_n_steps=1000)
    start = time.monotonic()
    run.fit(Slow(), batches(200, size=1))
    assert time.monotonic() - start < 2.0
    assert 1 <= run.global_step < 100


@pytest.mark.parametrize("limit", ["1:2", 5, {"weeks": "x"}])
def test_max_time_in_another_form_is_an_error(limit: Any):
    with pytest.raises(pl.ConfigurationError, match=r"max_time=.*must be 'DD:HH:MM:SS'"):
        trainer(max_time=limit)


# when validation runs


@pytest.mark.parametrize(
    ("interval", "expected"),
    [(1.0, "|0123v.|0123v."), (0.5, "|01v.23v.|01v.23v."), (0.25, "|0v.1v.2v.3v.|0v.1v.2v.3v."), (3, "|012v.3|012v.3"),
     (0.75, "|012v.3|012v.3"), (2, "|01v.23v.|01v.23v."), (0.01, "|0v.1v.2v.3v.|0v.1v.2v.3v.")],
)  # fmt: skip
def test_val_check_interval(interval: Any, expected: str):
    assert told(max_epochs=2, val_check_interval=interval) == expected


def test_an_interval_longer_than_the_epoch_is_an_error():
    with pytest.raises(pl.ConfigurationError, match=r"val_check_interval=5\): an epoch has only 4 batches"):
        told(val_check_interval=5)


def test_check_val_every_n_epoch():
    assert told(max_epochs=5, check_val_every_n_epoch=2) == "|0123|0123v.|0123|0123v.|0123"


@pytest.mark.parametrize(
    ("interval", "expected"),
    [(4, "|0123v.|0123v.|0123v."), (3, "|012v.3|01v.23|0v.123v."), (6, "|0123|01v.23|0123v."), (13, "|0123|0123|0123")],
)
def test_an_interval_counted_on_from_epoch_to_epoch(interval: int, expected: str):
    """`check_val_every_n_epoch=None`, as long runs over small data have it; with and without a length."""
    flags: dict[str, Any] = {"max_epochs": 3, "val_check_interval": interval, "check_val_every_n_epoch": None}
    assert told(**flags) == expected
    assert told(stream(4), **flags) == expected


def test_a_fraction_cannot_be_counted_on_from_epoch_to_epoch():
    with pytest.raises(pl.ConfigurationError, match=r"check_val_every_n_epoch=None, val_check_interval=0\.5\): .*int"):
        told(val_check_interval=0.5, check_val_every_n_epoch=None)


@pytest.mark.parametrize("sized", [True, False])
def test_a_run_that_continues_counts_on_from_epoch_to_epoch(sized: bool, tmp_path: Any):
    class Saver(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            trainer.save_checkpoint(tmp_path / f"{trainer.current_epoch}-{batch_idx}.ckpt")

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            trainer.save_checkpoint(tmp_path / f"{trainer.current_epoch}-end.ckpt")

    flags: dict[str, Any] = {"max_epochs": 4, "val_check_interval": 3, "check_val_every_n_epoch": None}
    flags["num_sanity_val_steps"] = 0

    def run(ckpt_path: Any = None, **more: Any) -> str:
        model = Telling()
        trainer(**flags, **more).fit(model, batches(4) if sized else stream(4), batches(1), ckpt_path=ckpt_path)
        return "".join(model.told)

    whole = run(callbacks=[Saver()])
    assert whole == "|012v.3|01v.23|0v.123v.|012v.3"
    assert run(tmp_path / "1-0.ckpt") == "1v.23|0v.123v.|012v.3"
    assert run(tmp_path / "1-1.ckpt") == "v.23|0v.123v.|012v.3"
    assert run(tmp_path / "1-end.ckpt") == "|0v.123v.|012v.3"


@pytest.mark.parametrize(("steps", "expected"), [(0, ""), (2, "v.."), (-1, "v..."), (9, "v...")])
def test_num_sanity_val_steps(steps: int, expected: str):
    assert told(batches(1), batches(3), max_epochs=0, num_sanity_val_steps=steps) == expected


def test_the_sanity_check_leaves_no_trace():
    """Neither metrics nor random numbers, nor the mode of the module."""

    class Drawing(Validated):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("drawn", torch.rand(()))

    assert trainer_after(Drawing(), max_epochs=0).callback_metrics == {}
    models = []
    for steps in (0, 2):
        torch.manual_seed(0)
        models.append(Drawing(dropout=0.5))
        trainer_after(models[-1], max_epochs=1, num_sanity_val_steps=steps)
    assert same(*models)


def trainer_after(model: Any, **flags: Any) -> pl.Trainer:
    run = trainer(**flags)
    run.fit(model, batches(3, shuffle=True), batches(1))
    return run


# loaders without a length


def test_without_a_length_validation_comes_at_the_end():
    assert told(stream(3, extra=1), max_epochs=2) == "|0123v.|0123v."


@pytest.mark.parametrize(("every", "expected"), [(2, "|01v.23v."), (3, "|012v.3"), (9, "|0123")])
def test_without_a_length_validation_every_n_batches(every: int, expected: str):
    assert told(stream(4), val_check_interval=every) == expected


def test_without_a_length_a_fraction_is_an_error():
    with pytest.raises(pl.ConfigurationError, match=r"val_check_interval=0\.5\): the training loader has no length"):
        told(stream(4), val_check_interval=0.5)
    with pytest.raises(pl.ConfigurationError, match=r"limit_train_batches=0\.5\): the loader has no length"):
        told(stream(4), limit_train_batches=0.5)


def test_without_a_length_an_int_limits():
    assert without_val(train=stream(4), limit_train_batches=2, max_epochs=2) == "|01|01"


@pytest.mark.parametrize("window", [2, 3, 4, 9])
@pytest.mark.parametrize("one_by_one", [False, True])
def test_without_a_length_the_last_window_steps_too(window: int, one_by_one: bool):
    """The same weights as with the length known, whoever brings the loop to single batches."""
    models = []
    for make in (batches, stream):
        torch.manual_seed(0)
        models.append(Net())
        run = trainer(
            max_epochs=2, accumulate_grad_batches=window, callbacks=[pl.Callback(), Each()] if one_by_one else []
        )
        run.fit(models[-1], make(4, extra=2))
        assert run.global_step == 2 * -(-5 // window)
    assert same(*models)


class Each(pl.Callback):
    """Wants to see every batch."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any) -> None:
        pass


# short runs for people who look for mistakes


@pytest.mark.parametrize(("flag", "n"), [(True, 1), (3, 3)])
def test_fast_dev_run(flag: Any, n: int):
    """One epoch of n batches of each stage, no sanity check, and nothing is written."""
    model = Telling()
    run = pl.Trainer(fast_dev_run=flag, max_epochs=7, limit_train_batches=2)
    run.fit(model, batches(4), batches(4))
    run.test(model, batches(4))
    assert "".join(model.told) == "|" + "012"[:n] + "v" + "." * n + "t" * n
    assert run.loggers == []
    assert run.checkpoint_callback is None


@pytest.mark.parametrize(("amount", "n"), [(2, 2), (0.5, 2), (1, 1)])
def test_overfit_batches(amount: Any, n: int):
    """The same first training batches, unshuffled, for training, validation and test."""
    seen: dict[str, list[Any]] = {"train": [], "val": [], "test": []}

    class Keeping(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            seen["train"].append(batch[0])
            return self.loss(batch)

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            seen["val"].append(batch[0])

        def test_step(self, batch: Any, batch_idx: int) -> None:
            seen["test"].append(batch[0])

    with pytest.warns(UserWarning, match=rf"overfit_batches={amount}, limit_val_batches=1\): overfit_batches says how"):
        run = trainer(max_epochs=2, overfit_batches=amount, num_sanity_val_steps=0, limit_val_batches=1)
    with pytest.warns(UserWarning, match="train_dataloader shuffles or samples; its batches are") as caught:
        run.fit(Keeping(), batches(4, shuffle=True), batches(9))
    assert len(caught) == 1
    with pytest.warns(UserWarning, match="train_dataloader shuffles or samples"):
        run.test(dataloaders=batches(9))
    first = [x for x, _ in batches(4)][:n]
    expected = torch.cat(first)
    assert torch.equal(torch.cat(seen["train"]), torch.cat([expected] * 2))
    assert torch.equal(torch.cat(seen["val"]), torch.cat([expected] * 2))
    assert torch.equal(torch.cat(seen["test"]), expected)
