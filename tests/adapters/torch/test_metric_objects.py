"""Metric objects of torchmetrics that are logged: each stage of each run starts with empty ones."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torchmetrics

import functrain_torch as pl
from tests.adapters.torch.small import Net, batches, trainer

ONE = torch.tensor(1.0)


class Sums(Net):
    """Counts batches by metric objects: one for training, one shared by validation and test."""

    def __init__(self, on_step: bool = False, on_epoch: bool = True) -> None:
        super().__init__()
        self.options = {"on_step": on_step, "on_epoch": on_epoch}
        self.train_sum, self.eval_sum = torchmetrics.SumMetric(), torchmetrics.SumMetric()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.train_sum(ONE)
        self.log("train", self.train_sum, **self.options)
        return self.loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.eval_sum.update(ONE)
        self.log("eval", self.eval_sum)

    test_step = validation_step


def value(run: pl.Trainer, name: str) -> float:
    return float(run.callback_metrics[name])


def test_a_metric_object_starts_anew_in_every_fit():
    model, found = Sums(), []
    for _ in range(3):
        run = trainer(max_epochs=1)
        run.fit(model, batches(10), batches(1))
        found.append(value(run, "train"))
    assert found == [10.0, 10.0, 10.0]


@pytest.mark.parametrize("on_epoch", [True, False])
def test_a_fit_that_ended_within_an_epoch_leaves_nothing_to_the_next(on_epoch: bool):
    model = Sums(on_step=True, on_epoch=on_epoch)
    trainer(max_steps=3).fit(model, batches(10), batches(1))
    held: list[float] = []

    class Looking(pl.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            held.append(float(module.train_sum.compute()))

    trainer(max_epochs=2, callbacks=Looking()).fit(model, batches(2), batches(1))
    assert held == [1.0, 2.0, 1.0, 2.0]


def test_one_metric_object_for_validation_and_test_gives_each_its_own_value():
    model, run = Sums(), trainer(max_epochs=1)
    run.fit(model, batches(1), batches(15))
    assert value(run, "eval") == 15.0
    assert run.test(model, batches(20), verbose=False) == [{"eval": 20.0}]
    assert run.test(model, batches(20), verbose=False) == [{"eval": 20.0}]


def test_a_metric_object_of_a_callback_starts_anew_too():
    class Counting(pl.Callback):
        def __init__(self) -> None:
            self.sum = torchmetrics.SumMetric()

        def on_test_batch_end(self, trainer: Any, module: Any, *rest: Any) -> None:
            self.sum(ONE)
            module.log("counted", self.sum)

    counting, model = Counting(), Sums()
    for _ in range(2):
        assert trainer(callbacks=counting).test(model, batches(3), verbose=False)[0]["counted"] == 3.0


class Collected(Net):
    """A collection whose parts share their states; one part, or all of them, logged."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        kinds = torchmetrics.classification
        self.names = names
        self.both = torchmetrics.MetricCollection({"a": kinds.BinaryPrecision(), "b": kinds.BinaryRecall()})

    def test_step(self, batch: Any, batch_idx: int) -> None:
        right = self.trainer.flags.limit_test_batches - 2
        self.both.update(torch.tensor([1, right, 1]), torch.tensor([1, 1, right]))
        self.log_dict({name: metric for name, metric in self.both.items() if name in self.names})


@pytest.mark.parametrize("names", [("a", "b"), ("b",), ("a",)])
def test_a_collection_starts_anew_as_a_whole(names: tuple[str, ...]):
    model = Collected(names)
    for hits, expected in ((3, 1.0), (2, 0.5)):
        result = trainer(limit_test_batches=hits).test(model, batches(5), verbose=False)
        assert result == [dict.fromkeys(names, expected)]


def test_one_metric_object_for_several_loaders_gives_each_loader_its_own_value():
    run = trainer()
    results = run.test(Sums(), [batches(3), batches(5)], verbose=False)
    assert results == [{"eval/dataloader_idx_0": 3.0}, {"eval/dataloader_idx_1": 5.0}]


def test_one_metric_object_for_several_loaders_together():
    class Together(Sums):
        def test_step(self, batch: Any, batch_idx: int) -> None:
            self.eval_sum(ONE)
            self.log("all", self.eval_sum, add_dataloader_idx=False)

    assert trainer().test(Together(), [batches(3), batches(5)], verbose=False) == [{"all": 8.0}] * 2


def test_a_resumed_run_goes_on_with_what_the_metric_object_has_seen(tmp_path: Path):
    path = str(tmp_path / "a.ckpt")
    run = trainer(max_steps=3)
    run.fit(Sums(), batches(5), batches(1))
    run.save_checkpoint(path)
    again = trainer(max_epochs=1)
    again.fit(Sums(), batches(5), batches(1), ckpt_path=path)
    assert value(again, "train") == 5.0


@pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")
@pytest.mark.parametrize("sanity", [0, 1])
def test_one_metric_object_in_training_and_validation_is_told(sanity: int):
    class Mixed(Sums):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.train_sum.update(ONE)
            self.log("eval", self.train_sum)

    with pytest.warns(UserWarning, match="one SumMetric object is logged in training and in validation"):
        trainer(max_epochs=2, num_sanity_val_steps=sanity).fit(Mixed(), batches(2), batches(1))


def test_a_metric_object_that_is_only_updated_has_no_step_value_and_says_so():
    class Updated(Sums):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.train_sum.update(ONE)
            self.log("train", self.train_sum)
            return self.loss(batch)

    with pytest.warns(UserWarning, match="SumMetric has no value of this step"):
        trainer(max_epochs=1).fit(Updated(), batches(2), batches(1))


def test_a_collection_in_one_log_says_log_dict():
    class One(Collected):
        def test_step(self, batch: Any, batch_idx: int) -> None:
            self.log("both", self.both)

    with pytest.raises(TypeError, match="MetricCollection is a collection of metrics; log it with"):
        trainer().test(One(("a",)), batches(1), verbose=False)
