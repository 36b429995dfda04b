"""self.log: whose value a name reads, what each hook's value becomes, and what is told."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torchmetrics

import functrain_torch as pl
from functrain.loggers import CSVLogger
from tests import inside
from tests.adapters.torch.small import Net, Validated, batches, trainer


class Rows(CSVLogger):
    """Keeps the rows that a logger gets."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.rows: list[tuple[int | None, dict[str, float]]] = []

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.rows.append((step, dict(metrics)))

    def values(self, name: str) -> list[tuple[int | None, float]]:
        return [(step, row[name]) for step, row in self.rows if name in row]


def metrics(run: pl.Trainer) -> dict[str, float]:
    return {name: float(value) for name, value in run.callback_metrics.items()}


class Twice(Net):
    """Logs one name in the validation step and at the validation's end, and one in the training step and at its end."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("t", float(batch_idx))
        return self.loss(batch)

    def on_train_epoch_end(self) -> None:
        self.log("t", 50.0)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("v", float(batch_idx))

    def on_validation_epoch_end(self) -> None:
        self.log("v", 100.0)


def test_a_value_logged_at_an_epochs_end_is_not_mixed_with_those_of_the_steps(tmp_path: Path):
    logger = Rows(tmp_path)
    run = trainer(max_epochs=2, logger=logger, log_every_n_steps=1)
    run.fit(Twice(), batches(3), batches(3))
    assert metrics(run) == {"v": 100.0, "t": 50.0}
    assert logger.values("v") == [(3, 100.0), (6, 100.0)]
    assert logger.values("t") == [(1, 0.0), (2, 1.0), (3, 2.0), (3, 50.0), (4, 0.0), (5, 1.0), (6, 2.0), (6, 50.0)]


class Reading(pl.Callback):
    """What callback_metrics shows when an epoch starts and after each batch."""

    def __init__(self) -> None:
        self.seen: list[dict[str, float]] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, module: Any) -> None:
        self.seen.append(metrics(trainer))

    def on_train_batch_end(self, trainer: pl.Trainer, *rest: Any) -> None:
        self.seen.append(metrics(trainer))


class Both(Net):
    """Logs the batch's number, with both flags or one."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("v", float(batch_idx + 10 * self.current_epoch), **self.options)
        return self.loss(batch)


def test_callback_metrics_keep_the_last_steps_value_when_an_epoch_starts():
    reading = Reading()
    trainer(max_epochs=2, callbacks=reading).fit(Both(), batches(2))
    assert reading.seen == [{}, {"v": 0.0}, {"v": 1.0}, {"v": 1.0}, {"v": 10.0}, {"v": 11.0}]


def test_callback_metrics_show_the_steps_value_in_mid_epoch_where_both_flags_are_set():
    reading = Reading()
    run = trainer(max_epochs=2, callbacks=reading)
    run.fit(Both(on_step=True, on_epoch=True), batches(2))
    assert [seen.get("v") for seen in reading.seen] == [None, 0.0, 1.0, 0.5, 10.0, 11.0]
    assert reading.seen[4] == {"v": 10.0, "v_step": 10.0, "v_epoch": 0.5}
    assert metrics(run) == {"v": 10.5, "v_step": 11.0, "v_epoch": 10.5}


class Started(Validated):
    """Logs when training starts."""

    def on_train_start(self) -> None:
        self.log("started", 7.0, reduce_fx="sum")


@pytest.mark.parametrize("steps", [3, 4])
def test_what_on_train_start_logs_is_there_in_a_resumed_run(tmp_path: Path, steps: int):
    """Resumed at an epoch's end, and within one: once, not twice."""
    path = str(tmp_path / "a.ckpt")
    run = trainer(max_steps=steps)
    run.fit(Started(), batches(3), batches(1))
    run.save_checkpoint(path)
    logger = Rows(tmp_path)
    again = trainer(max_epochs=2, logger=logger)
    again.fit(Started(), batches(3), batches(1), ckpt_path=path)
    assert metrics(again)["started"] == 7.0
    assert logger.values("started") == [(6, 7.0)]


def test_steps_of_a_validation_reach_the_loggers(tmp_path: Path):
    """At every batch, by the updates of the fit, or by the batch in a test; the sanity check is none of them."""

    class Steps(Net):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("v", float(batch_idx), on_step=True, on_epoch=True)

        test_step = validation_step

    logger = Rows(tmp_path)
    run = trainer(max_epochs=2, logger=logger)
    run.fit(model := Steps(), batches(2), batches(3))
    assert logger.values("v_step") == [(2, 0.0), (2, 1.0), (2, 2.0), (4, 0.0), (4, 1.0), (4, 2.0)]
    assert logger.values("v_epoch") == [(2, 1.0), (4, 1.0)]
    run.test(model, [batches(1), batches(2)], verbose=False)
    assert logger.values("v_step/dataloader_idx_1") == [(0, 0.0), (1, 1.0)]


def test_several_loaders_with_both_flags_give_a_dict_each():
    class Steps(Net):
        def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
            self.log("v", float(dataloader_idx), on_step=True, on_epoch=True)

    run = trainer()
    results = run.test(Steps(), [batches(1), batches(2)], verbose=False)
    assert results == [{"v_epoch/dataloader_idx_0": 0.0}, {"v_epoch/dataloader_idx_1": 1.0}]
    assert metrics(run)["v/dataloader_idx_1"] == 1.0


@pytest.mark.parametrize("second", [{"reduce_fx": "sum"}, {"on_epoch": True}, {"prog_bar": True}])
def test_one_name_with_contradictory_options_in_one_step_is_an_error(second: dict[str, Any]):
    class Contradicting(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("v", 1.0)
            self.log("v", 2.0, **second)
            return self.loss(batch)

    (option, value) = next(iter(second.items()))
    with pytest.raises(
        ValueError, match=rf"self.log\('v', ...\): logged in training_step with .*{option}={value!r} now"
    ):
        trainer(max_epochs=1).fit(Contradicting(), batches(2))


def test_the_same_options_spelled_out_are_no_contradiction():
    class Spelled(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("v", 1.0)
            self.log("v", 2.0, on_step=True, on_epoch=False, reduce_fx=torch.mean)
            return self.loss(batch)

    run = trainer(max_epochs=1)
    run.fit(Spelled(), batches(2))
    assert metrics(run) == {"v": 2.0}


@pytest.mark.parametrize("hook", ["on_train_end", "on_validation_end"])
def test_a_value_that_comes_after_its_stage_is_told(hook: str):
    model = type("Late", (Validated,), {hook: lambda self: self.log("late", 1.0)})()
    with pytest.warns(UserWarning, match=rf"self.log\('late', ...\) in {hook}: the values of its stage are out"):
        trainer(max_epochs=1, num_sanity_val_steps=0).fit(model, batches(2), batches(1))


@pytest.mark.parametrize(("reduce_fx", "expected"), [("min", 0.0), ("max", 1.0), ("sum", 2.0), ("mean", 0.5)])
def test_booleans_can_be_reduced_in_every_way(reduce_fx: str, expected: float):
    class Booleans(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("v", torch.tensor(batch_idx % 2 == 0), on_step=False, on_epoch=True, reduce_fx=reduce_fx)
            return self.loss(batch)

    run = trainer(max_epochs=1)
    run.fit(Booleans(), batches(4))
    assert metrics(run) == {"v": expected}


@pytest.mark.parametrize(("dtype", "value", "expected"), [(torch.bfloat16, 1.0, 300.0), (torch.uint8, 3, 900.0)])
def test_narrow_types_add_up_in_an_epoch(dtype: torch.dtype, value: float, expected: float):
    """bfloat16 knows no 257."""

    class Narrow(Net):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("v", torch.tensor(value, dtype=dtype), reduce_fx="sum")
            self.log("least", torch.tensor(value, dtype=dtype), reduce_fx="min")

    run = trainer()
    run.validate(Narrow(), batches(300, size=1), verbose=False)
    assert metrics(run) == {"v": expected, "least": value}


def test_closures_that_evaluate_again_log_nothing_and_say_nothing():
    class Closure(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.loss(batch)
            self.log("v", 1.0, on_step=False, on_epoch=True, reduce_fx="sum")
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.LBFGS(self.parameters(), max_iter=3)

    run = trainer(max_epochs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.fit(Closure(), batches(2))
    assert metrics(run) == {"v": 2.0}


class Epochs(Net):
    """Logs over the epoch, by a value and by a metric object."""

    def __init__(self) -> None:
        super().__init__()
        self.total = torchmetrics.SumMetric()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.total(torch.tensor(1.0))
        self.log("total", self.total, on_step=False, on_epoch=True)
        self.log("v", float(batch_idx), on_step=False, on_epoch=True)
        return self.loss(batch)


def test_a_checkpoint_of_before_hooks_were_told_apart_goes_on_in_its_epoch(tmp_path: Path):
    path, old = str(tmp_path / "a.ckpt"), str(tmp_path / "old.ckpt")
    run = trainer(max_steps=3)
    run.fit(Epochs(), batches(5))
    run.save_checkpoint(path)
    saved = inside.read(path)
    saved["functrain"]["format"] = 1
    links = {stage: {name: at for _, name, at in linked} for stage, linked in saved["metric_links"].items()}
    fields = ("options", "total", "weight", "last")
    stages = saved["metrics"]["stages"].items()
    saved["metrics"] = {s: {e["base"]: {f: e[f] for f in fields} for e in entries} for s, entries in stages}
    saved["metric_links"] = links
    inside.write(old, saved)
    again = trainer(max_epochs=1)
    again.fit(Epochs(), batches(5), ckpt_path=old)
    assert metrics(again) == {"total": 5.0, "v": 2.0}


class AtTheStart(Validated):
    """Logs where a stage starts."""

    def on_validation_start(self) -> None:
        self.log("begun", 1.0)

    def on_test_start(self) -> None:
        self.log("begun", 2.0)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)


def test_what_a_stages_first_hook_logs_is_among_its_results():
    run, model = trainer(), AtTheStart()
    assert run.validate(model, batches(2), verbose=False)[0]["begun"] == 1.0
    assert run.test(model, batches(2), verbose=False)[0]["begun"] == 2.0
    assert metrics(run)["begun"] == 2.0
