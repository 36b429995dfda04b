"""What a value belongs to that is logged: the innermost step or hook, whatever has happened in those before it."""

from functools import partial

import jax.numpy as jnp
import pytest
import torch

import functrain_jax as ft
import functrain_torch as pl
from functrain import Callback
from functrain.callbacks import LambdaCallback
from tests import inside
from tests.one_weight import JaxWeight, TorchWeight

QUIET = {"logger": False, "checkpoint_callback": False, "progress_bar_refresh_rate": 0, "weights_summary": None}


class Steps:
    def training_step(self, batch, batch_idx):
        self.log("t", batch.sum(), on_step=True, on_epoch=True)
        return (self.weight() - 1) ** 2

    def validation_step(self, batch, batch_idx):
        self.log("v", batch.sum())


class Torch(Steps, TorchWeight):
    pass


class Jax(Steps, JaxWeight):
    pass


WORLDS = {"torch": (pl, Torch, torch.tensor), "jax": (ft, Jax, jnp.array)}
both_worlds = pytest.mark.parametrize("world", WORLDS)


def fit(world, callbacks, validates=False, ckpt_path=None, **flags):
    package, module, array = WORLDS[world]
    batches = [array([float(i)]) for i in range(1, 4)]
    run = package.Trainer(callbacks=callbacks, num_sanity_val_steps=0, **{"max_epochs": 1, **QUIET, **flags})
    return run, partial(run.fit, module(), batches, batches if validates else None, ckpt_path=ckpt_path)


class Fails(Exception):
    pass


def fails(*args):
    raise Fails


def test_a_hook_that_fails_leaves_the_scope_around_it():
    metrics = inside.metrics()
    hook = metrics.in_hook("on_epoch_end", fails)
    with metrics.scope("train", step=True) as around:
        with pytest.raises(Fails):
            hook()
        assert metrics.current is around
        with pytest.raises(Fails), metrics.scope("validation", step=True, loader=1):
            hook()
        assert metrics.current is around
    assert metrics.current is not around


def test_a_hook_within_a_step_logs_under_its_own_name_with_the_steps_batch():
    metrics = inside.metrics()
    with metrics.scope("train", step=True) as step:
        step.batch = [1, 2, 3]
        metrics.in_hook("on_before_backward", lambda: metrics.log("a", 1.0))()
        metrics.log("a", 2.0)
        with metrics.scope("validation", step=True):
            metrics.log("a", 3.0)
            metrics.in_hook("on_validation_batch_end", lambda: metrics.log("b", 4.0))()
        metrics.log("c", 5.0)
    assert list(metrics.entries["train"]) == [
        ("on_before_backward", "a"),
        ("training_step", "a"),
        ("training_step", "c"),
    ]
    assert list(metrics.entries["validation"]) == [("validation_step", "a"), ("on_validation_batch_end", "b")]
    assert step.batch == [1, 2, 3]


def test_what_is_recorded_says_all_that_a_call_says_and_is_collected_by_nobody():
    metrics, names = (
        inside.metrics(),
        "prog_bar logger on_step on_epoch reduce_fx batch_size add_dataloader_idx sync_dist",
    )
    with metrics.scope("train", step=True), metrics.collecting(lambda name, value: (name, value)) as step:
        metrics.log("a", 1.0, prog_bar=True, on_epoch=True, reduce_fx="max", batch_size=7, sync_dist=True)
        metrics.in_hook("on_after_batch_transfer", lambda: metrics.log("b", 2.0))()
    assert not metrics.entries["train"]
    first, second = step.records
    assert first.value == ("a", 1.0)
    assert dict(zip(names.split(), first.arguments()[2:], strict=True)) == {
        "prog_bar": True, "logger": True, "on_step": True, "on_epoch": True, "reduce_fx": "max", "batch_size": 7,
        "add_dataloader_idx": False, "sync_dist": True,
    }  # fmt: skip
    assert (second.key, second.weight) == (("on_after_batch_transfer", "b"), None)


@both_worlds
def test_of_a_scope_under_way_only_the_batch_is_written(world, monkeypatch):
    written = set()

    def write(scope, name, value):
        if hasattr(scope, "outer"):
            written.add(name)
        object.__setattr__(scope, name, value)

    monkeypatch.setattr(inside.kind_of_scope(), "__setattr__", write)
    fit(world, [LambdaCallback(on_validation_batch_end=lambda *given: None)], validates=True)[1]()
    fit(world, [], validates=True)[1]()
    assert written == {"batch"}


@both_worlds
def test_an_epoch_that_an_error_ends_has_no_values_of_its_own(world):
    """`callback_metrics` has an epoch's values when its last hooks are called, and not where one of them has failed."""
    shown = []
    ends = LambdaCallback(on_train_epoch_end=lambda trainer, module: (shown.append(trainer.callback_metrics), fails()))
    run, start = fit(world, [ends])
    with pytest.raises(Fails):
        start()
    assert float(shown[0]["t_epoch"]) == 2.0
    assert set(run.callback_metrics) == {"t", "t_step"}
    assert float(run.callback_metrics["t"]) == 3.0


@both_worlds
def test_a_validation_that_an_error_ends_leaves_logging_to_training(world):
    """What on_exception logs is no validation's."""

    class Logs(Callback):
        def on_validation_batch_end(self, trainer, module, *args):
            raise Fails

        def on_exception(self, trainer, module, error):
            scope = inside.scope(trainer)
            self.seen = (scope.stage, scope.step, scope.hook, scope.batch)

    logs = Logs()
    _, start = fit(world, [logs], validates=True)
    with pytest.raises(Fails):
        start()
    assert logs.seen == ("train", False, "on_exception", None)


class Saves(Callback):
    def __init__(self, path=None):
        self.path = path

    def save(self, trainer):
        if self.path is not None:
            trainer.save_checkpoint(self.path)


class SavesAtTheEpochsEnd(Saves):
    def on_epoch_end(self, trainer, module):
        self.save(trainer)


class SavesAfterValidation(Saves):
    def on_validation_end(self, trainer, module):
        self.save(trainer)


@both_worlds
def test_a_run_that_continues_in_on_epoch_end_shows_the_epochs_values_there(world, tmp_path):
    shown = {}

    class Shows(Callback):
        def __init__(self, name):
            self.name = name

        def on_epoch_end(self, trainer, module):
            shown[self.name] = {name: float(value) for name, value in trainer.callback_metrics.items()}

    path = tmp_path / "epoch.ckpt"
    fit(world, [SavesAtTheEpochsEnd(path), Shows("undisturbed")])[1]()
    fit(world, [SavesAtTheEpochsEnd(), Shows("continued")], ckpt_path=path)[1]()
    assert shown["undisturbed"]["t_epoch"] == 2.0
    assert shown["continued"] == shown["undisturbed"]


@both_worlds
@pytest.mark.filterwarnings("ignore:self.log.*reaches nobody")
def test_a_run_that_continues_in_on_validation_end_logs_there_as_validation(world, tmp_path):
    class Late(Callback):
        def on_validation_end(self, trainer, module):
            module.log("late", 1.0)

    path = tmp_path / "validated.ckpt"
    undisturbed, start = fit(world, [SavesAfterValidation(path), Late()], validates=True)
    start()
    continued, start = fit(world, [SavesAfterValidation(), Late()], True, ckpt_path=path)
    start()
    assert set(continued.callback_metrics) == set(undisturbed.callback_metrics) == {"t", "t_step", "t_epoch", "v"}


@both_worlds
def test_what_was_logged_is_written_and_read_by_the_core_for_every_adapter(world, tmp_path):
    class SavesInMidEpoch(Saves):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            if batch_idx == 1 and self.path is not None:
                assert "metrics" not in inside.snapshot(trainer)
                self.save(trainer)

    path = tmp_path / "mid.ckpt"
    fit(world, [SavesInMidEpoch(path)])[1]()
    (entry,) = inside.read(path)["metrics"]["stages"]["train"]
    assert (entry["hook"], entry["base"], float(entry["total"]), float(entry["weight"])) == ("training_step", "t", 3, 2)
    continued, start = fit(world, [SavesInMidEpoch()], ckpt_path=path)
    start()
    assert float(continued.callback_metrics["t_epoch"]) == 2.0
