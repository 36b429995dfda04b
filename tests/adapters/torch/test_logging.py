"""self.log: names, when a value is kept, how an epoch's value comes about, and where users read it."""

from typing import Any

import pytest
import torch
import torchmetrics

import functrain_torch as pl
from tests.adapters.torch.small import Net, Validated, batches, trainer, validation


class Logging(Net):
    """Logs the batch's number under a name, with the given options; by a hook or a step."""

    def __init__(self, where: str = "training_step", value: Any = None, name: str = "v", **options: Any) -> None:
        super().__init__()
        self.where, self.name, self.options = where, name, options
        self.value = value if value is not None else lambda i: torch.tensor(float(i))

    def say(self, where: str, i: int = 0) -> None:
        if where == self.where:
            self.log(self.name, self.value(i), **self.options)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.say("training_step", batch_idx)
        return self.loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.say("validation_step", batch_idx)


def fitted(model: pl.LightningModule, train: Any = None, val: Any = None, epochs: int = 2, **flags: Any) -> pl.Trainer:
    run = trainer(max_epochs=epochs, **flags)
    run.fit(model, train or batches(4), validation(model, val or batches(2)))
    return run


def metrics(run: pl.Trainer) -> dict[str, float]:
    return {name: float(value) for name, value in run.callback_metrics.items()}


def test_a_training_step_keeps_the_last_value():
    run = fitted(Logging())
    assert metrics(run) == {"v": 3.0}
    assert isinstance(run.callback_metrics["v"], torch.Tensor)


def test_the_documents_example():
    run = fitted(Logging(value=lambda i: 2, name="a_val", prog_bar=True))
    assert run.callback_metrics["a_val"] == 2
    assert run.logged_metrics["a_val"] == 2
    assert run.progress_bar_metrics["a_val"] == 2


def test_over_the_epoch():
    assert metrics(fitted(Logging(on_step=False, on_epoch=True))) == {"v": 1.5}


def test_both_give_two_names():
    """The plain name is the epoch's value, for callbacks that monitor it."""
    run = fitted(Logging(on_step=True, on_epoch=True, prog_bar=True))
    assert metrics(run) == {"v_step": 3.0, "v_epoch": 1.5, "v": 1.5}
    assert run.progress_bar_metrics == {"v_step": 3.0, "v_epoch": 1.5}
    assert {name: float(value) for name, value in run.logged_metrics.items()} == {"v_step": 3.0, "v_epoch": 1.5}


def test_a_validation_step_logs_over_the_epoch():
    run = fitted(Logging("validation_step"))
    assert metrics(run) == {"v": 0.5}
    assert run.progress_bar_metrics == {}


def test_neither_is_an_error():
    with pytest.raises(ValueError, match=r"self.log\('v'\): on_step and on_epoch are both False"):
        fitted(Logging(on_step=False, on_epoch=False))


@pytest.mark.parametrize("log", [{"logger": False}, {"log": False}])
def test_not_for_the_loggers(log: dict[str, Any]):
    run = fitted(Logging(on_step=False, on_epoch=True, **log))
    assert metrics(run) == {"v": 1.5}
    assert run.logged_metrics == {}


@pytest.mark.parametrize(
    ("reduce_fx", "expected"),
    [("mean", 1.5), ("sum", 6.0), ("max", 3.0), ("min", 0.0), (torch.mean, 1.5), (torch.amax, 3.0), (max, 3.0)],
)
def test_reductions(reduce_fx: Any, expected: float):
    assert metrics(fitted(Logging(on_step=False, on_epoch=True, reduce_fx=reduce_fx))) == {"v": expected}


def test_an_unknown_reduction_is_an_error():
    with pytest.raises(ValueError, match=r"reduce_fx='median'\): must be 'mean', 'sum', 'min' or 'max'"):
        fitted(Logging(reduce_fx="median"))


def test_epoch_means_are_weighted_by_batch_size():
    """4 batches of 4 and one of 2: the last one counts half."""
    run = fitted(Logging(on_step=False, on_epoch=True), batches(4, extra=2))
    assert metrics(run)["v"] == pytest.approx((4 * (0 + 1 + 2 + 3) + 2 * 4) / 18)


def test_a_batch_size_of_ones_own():
    run = fitted(Logging("validation_step", batch_size=1), val=batches(2, extra=1))
    assert metrics(run)["v"] == pytest.approx((0 + 1 + 2) / 3)


def test_the_ragged_validation_loss_is_that_of_the_whole_set():
    model = Validated()
    run = trainer(max_epochs=1)
    run.fit(model, batches(2), batches(2, extra=3))
    x, y = batches(2, extra=3).dataset.tensors
    with torch.no_grad():
        assert run.callback_metrics["val_loss"] == pytest.approx(model.loss((x, y)).item(), rel=1e-6)


def test_several_validation_loaders():
    class Several(Net):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
            self.log("v", float(dataloader_idx + 1))
            self.log("together", 3.0 * dataloader_idx, add_dataloader_idx=False, batch_size=1)

    run = fitted(Several(), val=[batches(1), batches(2)])
    assert metrics(run) == {"v/dataloader_idx_0": 1.0, "v/dataloader_idx_1": 2.0, "together": 2.0}
    results = run.validate(dataloaders=[batches(1), batches(2)], verbose=False)
    assert results == [{"v/dataloader_idx_0": 1.0, "together": 2.0}, {"v/dataloader_idx_1": 2.0, "together": 2.0}]


def test_log_dict():
    class Dict(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log_dict({"a": 1.0, "b": torch.tensor(2.0)}, on_step=False, on_epoch=True)
            return self.loss(batch)

    assert metrics(fitted(Dict())) == {"a": 1.0, "b": 2.0}


HOOKS = (
    "on_train_start", "on_train_epoch_start", "on_train_batch_start", "on_train_batch_end", "on_after_backward",
    "on_train_epoch_end", "on_validation_epoch_start", "on_validation_epoch_end", "on_validation_batch_end",
    "on_epoch_end",
)  # fmt: skip


@pytest.mark.parametrize("hook", ["training_epoch_end", "validation_epoch_end", *HOOKS])
def test_logged_in_a_hook_of_the_module(hook: str):
    """Hooks of an epoch log for the epoch; the value is there after the run."""
    model = type("Own", (Validated,), {hook: lambda self, *args: self.log("v", 7.0)})()
    assert metrics(fitted(model))["v"] == 7.0


@pytest.mark.parametrize("hook", HOOKS)
def test_logged_in_a_hook_of_a_callback(hook: str):
    callback = type("Own", (pl.Callback,), {hook: lambda self, trainer, module, *args: module.log("v", 7.0)})()
    assert metrics(fitted(Validated(), callbacks=callback))["v"] == 7.0


def test_values_are_cut_off_from_the_graph():
    class Graph(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.loss(batch)
            self.log("loss", loss, on_step=True, on_epoch=True)
            return loss

    run = fitted(Graph())
    assert not any(value.requires_grad for value in run.callback_metrics.values())


@pytest.mark.parametrize("value", [3, 3.0, True, torch.tensor([3.0]), torch.tensor(3), torch.ones(()).numpy()])
def test_kinds_of_scalars(value: Any):
    expected = 3.0 if value is not True and float(value) == 3 else 1.0
    assert metrics(fitted(Logging(value=lambda i: value, on_step=False, on_epoch=True))) == {"v": expected}


def test_more_than_a_scalar_is_an_error():
    with pytest.raises(ValueError, match=r"self.log\('v', ...\): the value has shape \(2,\); log a scalar"):
        fitted(Logging(value=lambda i: torch.ones(2)))


def test_logging_outside_a_run_is_told_once():
    model = Net()
    with pytest.warns(UserWarning, match=r"self.log\('v', ...\): no Trainer is running this Net"):
        model.log("v", 1.0)
    fitted(model)
    model.log("v", 1.0)
    assert model.trainer.callback_metrics == {}


class Accurate(Net):
    """A metric object for training, another for validation."""

    def __init__(self) -> None:
        super().__init__()
        self.train_acc = torchmetrics.classification.MulticlassAccuracy(2, average="micro")
        self.val_acc = torchmetrics.classification.MulticlassAccuracy(2, average="micro")
        self.hits = {"train": [0, 0], "val": [0, 0]}

    def count(self, stage: str, metric: Any, batch: Any) -> None:
        guesses = self(batch[0]).argmax(1)
        metric(guesses, batch[1])
        self.hits[stage][0] += int((guesses == batch[1]).sum())
        self.hits[stage][1] += len(guesses)

    def on_train_epoch_start(self) -> None:
        self.hits["train"] = [0, 0]

    def on_validation_epoch_start(self) -> None:
        self.hits["val"] = [0, 0]

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.count("train", self.train_acc, batch)
        self.log("train_acc", self.train_acc, on_step=True, on_epoch=True)
        return self.loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.count("val", self.val_acc, batch)
        self.log("val_acc", self.val_acc)


def test_metric_objects_start_empty_in_every_epoch():
    """The sanity check and the epochs before leave nothing in them."""
    model = Accurate()
    found = metrics(fitted(model, batches(4, extra=3), batches(2, extra=1)))
    rate = {stage: hits / total for stage, (hits, total) in model.hits.items()}
    assert model.hits["train"][1] == 19
    assert found["val_acc"] == pytest.approx(rate["val"])
    assert found["train_acc_epoch"] == found["train_acc"] == pytest.approx(rate["train"])
    assert "train_acc_step" in found


def test_a_collection_of_metrics():
    class Several(Net):
        def __init__(self) -> None:
            super().__init__()
            kinds = torchmetrics.classification
            self.both = torchmetrics.MetricCollection(
                {"acc": kinds.MulticlassAccuracy(2, average="micro"), "f1": kinds.MulticlassF1Score(2, average="micro")}
            )

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.both.update(self(batch[0]).argmax(1), batch[1])
            self.log_dict(self.both)

    model = Several()
    found = metrics(fitted(model))
    x, y = batches(2).dataset.tensors
    assert found == {"acc": pytest.approx((model(x).argmax(1) == y).float().mean().item()), "f1": found["acc"]}
