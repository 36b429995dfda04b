"""What steps may take and give; hooks with the arguments of every generation; norms and NaN."""

import copy
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch.nn import functional

import functrain_torch as pl
from tests.adapters.torch.small import Net, Validated, batches, same, trainer, validation


def fitted(model: pl.LightningModule, n: int = 4, epochs: int = 1, val: int = 1, **flags: Any) -> pl.Trainer:
    run = trainer(max_epochs=epochs, num_sanity_val_steps=0, **flags)
    run.fit(model, batches(n), validation(model, batches(val)))
    return run


# what a training step gives


def test_a_dict_with_the_loss():
    outputs = []

    class Dict(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return {"loss": self.loss(batch), "guess": self(batch[0])}

        def training_epoch_end(self, training_step_outputs: Any) -> None:
            outputs.extend(training_step_outputs)

    plain, own = Net(), Dict()
    own.load_state_dict(plain.state_dict())
    fitted(plain)
    fitted(own)
    assert same(plain, own)
    assert [set(output) for output in outputs] == [{"loss", "guess"}] * 4
    assert not any(value.requires_grad for output in outputs for value in output.values())


def test_a_weight_makes_the_window_a_mean_over_samples():
    """Ragged batches, one window: as the whole data set in one batch."""

    class Weighted(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return {"loss": self.loss(batch), "weight": len(batch[1])}

    model = Weighted()
    other = copy.deepcopy(model)
    run = trainer(max_epochs=1, accumulate_grad_batches=4)
    run.fit(model, batches(3, extra=2))
    optimizer = other.configure_optimizers()
    other.loss(batches(3, extra=2).dataset.tensors).backward()
    optimizer.step()
    torch.testing.assert_close(model.state_dict(), other.state_dict())


def without(indices: set[int], window: int) -> tuple[Net, Net, pl.Trainer]:
    """A run whose training step gives None at some batches, and a loop by hand that leaves them out."""

    class Skipping(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return None if batch_idx in indices else self.loss(batch)

    model = Skipping()
    other = copy.deepcopy(model)
    run = fitted(model, n=5, accumulate_grad_batches=window)
    optimizer, items = other.configure_optimizers(), list(enumerate(batches(5)))
    for first in range(0, 5, window):
        losses = [other.loss(batch) for i, batch in items[first : first + window] if i not in indices]
        if losses:
            optimizer.zero_grad()
            for loss in losses:
                loss.backward()
            for p in other.parameters():
                if len(losses) > 1:
                    p.grad.mul_(1 / len(losses))
            optimizer.step()
    return model, other, run


@pytest.mark.parametrize("indices", [{0}, {4}, {1, 2}, {0, 1, 2, 3, 4}])
@pytest.mark.parametrize("window", [1, 2, 3])
def test_none_leaves_the_batch_out(indices: set[int], window: int):
    """A window without any batch moves nothing; one with fewer divides by those that it has."""
    nothing = pytest.warns(UserWarning, match="without a single update") if len(indices) == 5 else nullcontext()
    with nothing:
        model, other, run = without(indices, window)
    assert same(model, other)
    assert run.current_epoch == 1


def test_training_step_end():
    """Gets what the step gave, and gives the loss."""

    class Ending(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return {"guess": self(batch[0]), "y": batch[1]}

        def training_step_end(self, batch_parts: Any) -> Any:
            return functional.cross_entropy(batch_parts["guess"], batch_parts["y"])

    plain, own = Net(), Ending()
    own.load_state_dict(plain.state_dict())
    fitted(plain)
    fitted(own)
    assert same(plain, own)


@pytest.mark.parametrize("stage", ["validation", "test"])
def test_step_end_and_epoch_end_of_an_evaluation(stage: str):
    found: list[Any] = []
    members = {
        f"{stage}_step": lambda self, batch, batch_idx: batch_idx,
        f"{stage}_step_end": lambda self, outputs: {"number": outputs},
        f"{stage}_epoch_end": lambda self, outputs: found.append(outputs),
    }
    model = type("Ending", (Net,), members)()
    run = trainer()
    getattr(run, "validate" if stage == "validation" else stage)(model, batches(2))
    assert found == [[{"number": 0}, {"number": 1}]]
    getattr(run, "validate" if stage == "validation" else stage)(model, [batches(1), batches(2)])
    assert found[1] == [[{"number": 0}], [{"number": 0}, {"number": 1}]]


# hooks


@pytest.mark.parametrize("at", [0, 2])
@pytest.mark.parametrize("owner", ["module", "callback"])
def test_minus_one_skips_the_rest_of_the_epoch(at: int, owner: str):
    """The hook of the last batch's window still steps; the epoch ends with its hooks."""
    seen: list[Any] = []

    class Model(Net):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> Any:
            return -1 if owner == "module" and batch_idx == at else None

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            seen.append((self.current_epoch, batch_idx))
            return self.loss(batch)

        def on_train_epoch_end(self) -> None:
            seen.append("end")

    class Callback(pl.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> Any:
            return -1 if owner == "callback" and batch_idx == at else None

    nothing = nullcontext() if at else pytest.warns(UserWarning, match="on_train_batch_start returned -1")
    with nothing:
        run = fitted(Model(), epochs=2, callbacks=Callback(), accumulate_grad_batches=4)
    assert seen == [*((0, i) for i in range(at)), "end", *((1, i) for i in range(at)), "end"]
    assert run.global_step == 2 * min(at, 1)
    assert run.current_epoch == 2


def test_arguments_as_the_signature_asks():
    """Any of the documented ones, in any number, under their old and new names."""
    seen: dict[str, Any] = {}

    class Asking(Validated):
        def training_step(self, data: Any, batch_nb: int) -> Any:
            seen["training_step"] = batch_nb
            return self.loss(data)

        def validation_step(self, batch: Any, batch_nb: int, dataset_idx: int) -> None:
            seen["validation_step"] = (batch_nb, dataset_idx)

        def on_train_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
            seen["batch_start"] = (batch_idx, dataloader_idx)

        def on_train_batch_end(self, outputs: Any) -> None:
            seen["batch_end"] = outputs["loss"].shape

        def on_validation_batch_end(self, *, batch_idx: int, outputs: Any) -> None:
            seen["validation_batch_end"] = (batch_idx, outputs)

        def on_train_epoch_end(self, outputs: Any) -> None:
            seen["epoch_end"] = len(outputs)

        def optimizer_zero_grad(self, current_epoch: int, batch_idx: int, optimizer: Any, opt_idx: int = 7) -> None:
            seen["zero_grad"] = (current_epoch, batch_idx, opt_idx)
            optimizer.zero_grad()

        def setup(self, stage: str | None = None) -> None:
            seen["setup"] = stage

        def teardown(self) -> None:
            seen["teardown"] = True

    class Callback(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            seen["callback"] = (outputs["loss"].shape, len(batch), batch_idx)

        def on_train_epoch_end(self, trainer: Any) -> None:
            seen["callback_epoch"] = trainer.current_epoch

    fitted(Asking(), n=2, val=2, callbacks=Callback())
    assert seen == {
        "setup": "fit", "training_step": 1, "batch_start": (1, 0), "batch_end": (), "zero_grad": (0, 1, 7),
        "callback": ((), 2, 1), "validation_step": (1, 0), "validation_batch_end": (1, None), "epoch_end": 2,
        "callback_epoch": 0, "teardown": True,
    }  # fmt: skip


def test_outputs_under_another_name():
    """An argument at the outputs' place is meant for them, whatever its name."""
    seen: list[int] = []

    class Model(Net):
        def on_train_epoch_end(self, everything: Any) -> None:
            seen.append(len(everything))

        def validation_step(self, batch: Any, batch_idx: int) -> int:
            return batch_idx

        def on_validation_epoch_end(self, what_the_steps_gave: Any) -> None:
            seen.append(len(what_the_steps_gave))

    fitted(Model(), n=3, val=2)
    assert seen == [2, 3]


def test_an_argument_that_there_is_not():
    class Wrong(Net):
        def training_step(self, batch: Any, batch_idx: int, weather: Any) -> Any:
            return self.loss(batch)

    with pytest.raises(TypeError, match=r"Wrong\.training_step: argument 'weather' is not one of this hook's"):
        fitted(Wrong())


def test_metrics_that_a_hook_finds():
    """A stage's own epoch values are there when its epoch ends; validation's, in the training epoch's end."""
    seen: list[Any] = []

    class Logging(Validated):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("train_loss", float(batch_idx), on_step=False, on_epoch=True)
            return self.loss(batch)

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("val_loss", 10.0 * self.current_epoch)

    class Reading(pl.Callback):
        def on_validation_epoch_end(self, trainer: Any, pl_module: Any, outputs: Any) -> None:
            seen.append(("val", float(trainer.callback_metrics["val_loss"])))

        def on_train_epoch_end(self, trainer: Any, pl_module: Any, outputs: Any) -> None:
            metrics = trainer.callback_metrics
            seen.append(("train", float(metrics["train_loss"]), float(metrics["val_loss"])))

    fitted(Logging(), epochs=2, callbacks=Reading())
    assert seen == [("val", 0.0), ("train", 1.5, 0.0), ("val", 10.0), ("train", 1.5, 10.0)]


@pytest.mark.parametrize("own", [False, True])
def test_backward_of_ones_own(own: bool):
    class Model(Net):
        if own:

            def backward(self, loss: Any, optimizer: Any, optimizer_idx: int) -> None:
                assert optimizer is self.optimizers(use_pl_optimizer=False)
                (2 * loss).backward()

    torch.manual_seed(0)
    model = Model()
    other = copy.deepcopy(model)
    optimizer = torch.optim.SGD(other.parameters(), lr=0.2 if own else 0.1)
    fitted(model)
    for batch in batches(4):
        optimizer.zero_grad()
        other.loss(batch).backward()
        optimizer.step()
    torch.testing.assert_close(model.state_dict(), other.state_dict())


def test_clipping_of_ones_own():
    """Its arguments are the flags'; without a call of clip_gradients nothing is clipped."""
    seen = []

    class Own(Net):
        def configure_gradient_clipping(
            self, optimizer: Any, optimizer_idx: int, gradient_clip_val: Any, gradient_clip_algorithm: Any
        ) -> None:
            seen.append((optimizer_idx, gradient_clip_val, gradient_clip_algorithm))
            if self.current_epoch == 0:
                self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    flags = {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"}
    plain, own = Net(), Own()
    own.load_state_dict(plain.state_dict())
    fitted(plain, **flags)
    run = fitted(own, **flags)
    assert same(plain, own)
    assert seen == [(0, 0.01, "value")] * 4
    del run


# norms and NaN


@pytest.mark.parametrize(("p", "label"), [(2, "2"), (1, "1"), ("inf", "inf"), (3.5, "3.5")])
def test_track_grad_norm(p: Any, label: str):
    """The norms of the mean gradients before clipping, in total and for each parameter."""
    model = Net()
    other = copy.deepcopy(model)
    found = fitted(model, n=1, track_grad_norm=p, gradient_clip_val=1e-3, log_every_n_steps=1).logged_metrics
    other.loss(next(iter(batches(1)))).backward()
    grads = dict(other.named_parameters())
    expected = {f"grad_{label}_norm_{name}": q.grad.norm(float(p)).item() for name, q in grads.items()}
    every = torch.cat([q.grad.flatten() for q in grads.values()])
    expected[f"grad_{label}_norm_total"] = every.norm(float(p)).item()
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected)


def test_tracking_norms_changes_nothing():
    models = []
    for p in (-1, 2):
        torch.manual_seed(0)
        models.append(Net())
        fitted(models[-1], track_grad_norm=p, gradient_clip_val=0.1)
    assert same(*models)


class Poisoned(Net):
    """From the third batch on either the loss or a parameter is not finite."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        return loss * float("nan") if self.what == "loss" and batch_idx == 2 else loss

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        if self.what == "weight" and self.global_step == 2:
            self.net[3].weight.grad.fill_(float("inf"))


@pytest.mark.parametrize("flag", ["terminate_on_nan", "detect_anomaly"])
def test_terminate_on_nan(flag: str):
    with pytest.raises(RuntimeError, match=r"the loss is nan at epoch 0, batch 2"):
        fitted(Poisoned("loss"), **{flag: True})
    with pytest.raises(RuntimeError, match=r"parameter 'net\.3\.weight' is not finite after epoch 0, batch 2"):
        fitted(Poisoned("weight"), **{flag: True})


def test_without_the_flag_nobody_looks():
    assert fitted(Poisoned("loss")).global_step == 4
