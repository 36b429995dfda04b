"""ModelCheckpoint: which states it keeps, when, and under which names."""

from __future__ import annotations

import math
import os
import signal
from datetime import timedelta

import pytest
import torch

import functrain_torch as pl
from functrain.trainer.errors import ConfigurationError, OlderNameWarning
from functrain_torch.callbacks import ModelCheckpoint
from tests import inside
from tests.callbacks.helpers import Scripted, by_epoch, fit, names


def falling(step: int) -> float:
    return 1.0 / (1 + step)


# ---- without a monitor


@pytest.mark.parametrize(("keep", "epochs"), [(1, [2]), (2, [1, 2]), (-1, [0, 1, 2]), (0, []), (None, [2])])
def test_without_a_monitor_the_newest_stay(make, tmp_path, keep, epochs):
    callback = ModelCheckpoint(save_top_k=keep)
    fit(make(callback, max_epochs=3), Scripted(falling))
    expected = [f"epoch={epoch}-step={4 * epoch + 4}.ckpt" for epoch in epochs]
    assert names(tmp_path / "checkpoints") == expected
    assert os.path.basename(callback.best_model_path) == (expected[-1] if expected else "")
    assert callback.best_model_score is None


def test_the_trainer_has_one_by_itself(tmp_path):
    trainer = pl.Trainer(
        default_root_dir=str(tmp_path), max_epochs=2, progress_bar_refresh_rate=0, weights_summary=None
    )
    fit(trainer, Scripted(falling))
    directory = tmp_path / "lightning_logs" / "version_0" / "checkpoints"
    assert names(directory) == ["epoch=1-step=8.ckpt"]
    assert trainer.checkpoint_callback.best_model_path == str(directory / "epoch=1-step=8.ckpt")


def test_where_files_go(make, tmp_path):
    callback = ModelCheckpoint()
    fit(make(callback, max_epochs=1, weights_save_path=str(tmp_path / "weights")), Scripted(falling))
    assert callback.dirpath == str(tmp_path / "weights")
    callback = ModelCheckpoint(dirpath=tmp_path / "mine")
    fit(make(callback, max_epochs=1, weights_save_path=str(tmp_path / "other")), Scripted(falling))
    assert names(tmp_path / "mine") == ["epoch=0-step=4.ckpt"]
    assert not (tmp_path / "other").exists()


def test_a_state_within_an_epoch_is_saved_where_a_limit_ends_the_run(make, tmp_path):
    fit(make(ModelCheckpoint(), max_steps=6, max_epochs=-1), Scripted(falling))
    assert names(tmp_path / "checkpoints") == ["epoch=1-step=6.ckpt"]


def test_only_after_validations(make, tmp_path):
    callback = ModelCheckpoint(save_on_train_epoch_end=False, save_top_k=-1)
    fit(make(callback, max_epochs=4, check_val_every_n_epoch=2), Scripted(falling))
    assert names(tmp_path / "checkpoints") == ["epoch=1-step=8.ckpt", "epoch=3-step=16.ckpt"]


# ---- by a metric


@pytest.mark.parametrize(
    ("mode", "keep", "best", "kept"),
    [("min", 1, 3, [3]), ("min", 2, 3, [1, 3]), ("max", 2, 2, [0, 2]), ("min", -1, 3, [0, 1, 2, 3])],
)
def test_the_best_stay(make, tmp_path, mode, keep, best, kept):
    values = (0.5, 0.3, 0.9, 0.2)
    callback = ModelCheckpoint(monitor="val_loss", mode=mode, save_top_k=keep, filename="{epoch}")
    fit(make(callback, max_epochs=4), Scripted(by_epoch(*values)))
    assert names(tmp_path / "checkpoints") == [f"epoch={epoch}.ckpt" for epoch in kept]
    assert os.path.basename(callback.best_model_path) == f"epoch={best}.ckpt"
    assert callback.best_model_score == pytest.approx(values[best])
    scores = {os.path.basename(path): score for path, score in callback.best_k_models.items()}
    assert scores == {f"epoch={epoch}.ckpt": pytest.approx(values[epoch]) for epoch in kept}
    worst = (max if mode == "min" else min)(kept, key=lambda epoch: values[epoch])
    assert os.path.basename(callback.kth_best_model_path) == f"epoch={worst}.ckpt"
    assert callback.current_score == pytest.approx(0.2)


def test_of_equals_the_older_stays(make, tmp_path):
    fit(make(ModelCheckpoint(monitor="val_loss"), max_epochs=3), Scripted(by_epoch(0.5, 0.5, 0.5)))
    assert names(tmp_path / "checkpoints") == ["epoch=0-step=4.ckpt"]


@pytest.mark.parametrize("mode", ["min", "max"])
def test_nan_is_the_worst(make, tmp_path, mode):
    callback = ModelCheckpoint(monitor="val_loss", mode=mode, save_top_k=2, filename="{epoch}")
    fit(make(callback, max_epochs=4), Scripted(by_epoch(math.nan, 0.3, math.nan, 0.4)))
    assert names(tmp_path / "checkpoints") == ["epoch=1.ckpt", "epoch=3.ckpt"]


def test_auto_mode_takes_an_accuracy_for_better_when_higher(make, tmp_path):
    callback = ModelCheckpoint(monitor="val/acc_top5", mode="auto", filename="{epoch}")
    fit(make(callback, max_epochs=2), Scripted(by_epoch(0.1, 0.9), metric="val/acc_top5"))
    assert names(tmp_path / "checkpoints") == ["epoch=1.ckpt"]
    assert ModelCheckpoint(monitor="val_loss", mode="auto").mode == "min"


def test_a_metric_of_the_training(make, tmp_path):
    callback = ModelCheckpoint(monitor="train_loss", mode="max", filename="{epoch}")
    fit(make(callback, max_epochs=3, val_check_interval=0.5), Scripted(falling))
    assert names(tmp_path / "checkpoints") == ["epoch=0.ckpt"]
    assert callback.current_score < callback.best_model_score


def test_validations_within_an_epoch(make, tmp_path):
    callback = ModelCheckpoint(monitor="val_loss", save_top_k=-1)
    fit(make(callback, max_epochs=2, val_check_interval=2), Scripted(falling))
    expected = ["epoch=0-step=2.ckpt", "epoch=0-step=4.ckpt", "epoch=1-step=6.ckpt", "epoch=1-step=8.ckpt"]
    assert names(tmp_path / "checkpoints") == expected
    assert list(callback.best_k_models.values()) == pytest.approx([falling(step) for step in (2, 4, 6, 8)])


def test_at_the_end_of_epochs_only(make, tmp_path):
    callback = ModelCheckpoint(monitor="val_loss", save_top_k=-1, save_on_train_epoch_end=True)
    fit(make(callback, max_epochs=2, val_check_interval=2), Scripted(falling))
    assert names(tmp_path / "checkpoints") == ["epoch=0-step=4.ckpt", "epoch=1-step=8.ckpt"]


def test_at_the_end_of_epochs_by_the_last_value_within(make, tmp_path):
    callback = ModelCheckpoint(monitor="val_loss", save_on_train_epoch_end=True)
    fit(make(callback, max_epochs=1, val_check_interval=3), Scripted(falling))
    assert names(tmp_path / "checkpoints") == ["epoch=0-step=4.ckpt"]
    assert callback.best_model_score == pytest.approx(falling(3))


def test_never_by_a_stale_metric(make, tmp_path):
    """Epochs without validation, and an epoch that a limit cuts short, have no value of their own."""
    callback = ModelCheckpoint(monitor="val_loss", save_top_k=-1)
    fit(make(callback, max_steps=18, max_epochs=-1, check_val_every_n_epoch=2), Scripted(falling))
    assert names(tmp_path / "checkpoints") == ["epoch=1-step=8.ckpt", "epoch=3-step=16.ckpt"]


# ---- when


def test_every_n_epochs(make, tmp_path):
    fit(make(ModelCheckpoint(every_n_epochs=2, save_top_k=-1), max_epochs=5), Scripted(falling))
    assert names(tmp_path / "checkpoints") == ["epoch=1-step=8.ckpt", "epoch=3-step=16.ckpt"]


def test_period_is_the_older_name(make, tmp_path):
    with pytest.warns(OlderNameWarning, match="every_n_epochs"):
        callback = ModelCheckpoint(period=2)
    assert callback.every_n_epochs == 2
    with (
        pytest.warns(OlderNameWarning, match="every_n_epochs"),
        pytest.raises(ConfigurationError, match=r"period=2, every_n_epochs=3"),
    ):
        ModelCheckpoint(period=2, every_n_epochs=3)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_every_n_train_steps_counts_updates(make, tmp_path, accumulate):
    callback = ModelCheckpoint(every_n_train_steps=3, save_top_k=-1)
    fit(make(callback, max_epochs=2, accumulate_grad_batches=accumulate), Scripted(falling), n=4 * accumulate)
    assert names(tmp_path / "checkpoints") == ["epoch=0-step=3.ckpt", "epoch=1-step=6.ckpt"]


def test_a_state_that_is_due_waits_for_its_metric(make, tmp_path):
    callback = ModelCheckpoint(every_n_train_steps=3, monitor="val_loss", save_top_k=-1)
    with pytest.warns(UserWarning, match="nobody logs this metric"):
        fit(make(callback, max_epochs=3), Scripted(falling))
    # Due at 3, 6, 9 and 12; validated at 4, 8 and 12.
    assert [name.split("-")[1] for name in names(tmp_path / "checkpoints")] == [
        "step=4.ckpt",
        "step=8.ckpt",
        "step=12.ckpt",
    ]
    assert list(callback.best_k_models.values()) == pytest.approx([falling(step) for step in (4, 8, 12)])


def test_a_state_is_not_ranked_by_the_metric_of_another(make, tmp_path):
    """Due at 6 and 12; validated at 4, 8 and 12."""
    callback = ModelCheckpoint(every_n_train_steps=6, monitor="val_loss", save_top_k=-1)
    fit(make(callback, max_epochs=3), Scripted(falling))
    assert list(callback.best_k_models.values()) == pytest.approx([falling(step) for step in (8, 12)])
    assert names(tmp_path / "checkpoints") == ["epoch=1-step=8.ckpt", "epoch=2-step=12.ckpt"]


def test_by_time(make, tmp_path):
    callback = ModelCheckpoint(train_time_interval=timedelta(microseconds=1), save_top_k=-1)
    assert callback.tick_seconds == pytest.approx(1e-6)
    fit(make(callback, max_epochs=1), Scripted(falling))
    kept = names(tmp_path / "checkpoints")
    assert "epoch=0-step=1.ckpt" in kept
    assert "epoch=0-step=4.ckpt" in kept
    callback = ModelCheckpoint(dirpath=tmp_path / "rare", train_time_interval=timedelta(hours=1))
    fit(make(callback, max_epochs=2), Scripted(falling))
    assert names(tmp_path / "rare") == []


def test_a_state_saved_by_time_continues_exactly(make, tmp_path):
    callback = ModelCheckpoint(train_time_interval=timedelta(microseconds=1), save_top_k=-1)
    whole = Scripted(falling)
    fit(make(callback, max_epochs=2, val_check_interval=2), whole)
    again = Scripted(falling)
    path = str(tmp_path / "checkpoints" / "epoch=0-step=3.ckpt")
    with pytest.warns(UserWarning, match="states of callbacks that this Trainer does not have"):
        fit(make(max_epochs=2, val_check_interval=2), again, ckpt_path=path)
    assert torch.equal(again.weight, whole.weight)


@pytest.mark.parametrize("flags", [{"fast_dev_run": True}, {"num_sanity_val_steps": 2, "max_epochs": 0}])
def test_not_in_a_sanity_check_nor_a_dev_run(make, tmp_path, flags):
    callback = ModelCheckpoint(monitor="val_loss", save_last=True, every_n_train_steps=1)
    fit(make(callback, **flags), Scripted(falling))
    assert names(tmp_path / "checkpoints") == []
    assert callback.best_model_path == ""


# ---- last


def test_last_is_a_copy_of_the_newest(make, tmp_path):
    callback = ModelCheckpoint(monitor="val_loss", save_last=True, filename="{epoch}")
    fit(make(callback, max_epochs=3), Scripted(by_epoch(0.1, 0.2, 0.3)))
    assert names(tmp_path / "checkpoints") == ["epoch=0.ckpt", "last.ckpt"]
    assert callback.last_model_path == str(tmp_path / "checkpoints" / "last.ckpt")
    assert inside.read(callback.last_model_path)["global_step"] == 12
    assert not os.path.islink(callback.last_model_path)


def test_the_name_of_last_may_hold_values(make, tmp_path):
    class Named(ModelCheckpoint):
        CHECKPOINT_NAME_LAST = "{epoch}-newest"

    fit(make(Named(save_top_k=0, save_last=True), max_epochs=3), Scripted(falling))
    assert names(tmp_path / "checkpoints") == ["epoch=2-newest.ckpt"]


class Interrupted(Scripted):
    def on_train_batch_end(self, outputs, batch, batch_idx):
        if self.trainer.global_step == 6 and not self.done:
            self.done = True
            os.kill(os.getpid(), signal.SIGINT)

    done = False


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ({"monitor": "val_loss", "save_last": True}, ["epoch=0-step=4.ckpt", "last.ckpt"]),
        ({}, ["epoch=1-step=6.ckpt"]),
        ({"save_top_k": -1}, ["epoch=0-step=4.ckpt", "epoch=1-step=6.ckpt"]),
    ],
)
def test_an_interrupt_loses_nothing(make, tmp_path, arguments, kept):
    callback = ModelCheckpoint(**arguments)
    trainer = fit(make(callback, max_epochs=3), Interrupted(falling))
    assert trainer.interrupted
    assert names(tmp_path / "checkpoints") == kept
    newest = callback.last_model_path or callback.best_model_path
    assert inside.read(newest)["global_step"] == 6
    whole, again = Scripted(falling), Scripted(falling)
    fit(make(max_epochs=3), whole)
    fit(make(ModelCheckpoint(**arguments), max_epochs=3), again, ckpt_path=newest)
    assert torch.equal(again.weight, whole.weight)


# ---- names


@pytest.mark.parametrize(
    ("template", "insert", "name"),
    [
        (None, True, "epoch=1-step=8.ckpt"),
        ("{epoch:02d}-{val/loss:.2f}", True, "epoch=01-val_loss=0.25.ckpt"),
        ("m-{epoch}-loss={val/loss:.3f}", False, "m-1-loss=0.250.ckpt"),
        ("fixed", True, "fixed.ckpt"),
        ("{step:06d}", False, "000008.ckpt"),
        ("{val/loss:.0e}", True, "val_loss=2e-01.ckpt"),
    ],
)
def test_names_hold_values(make, tmp_path, template, insert, name):
    callback = ModelCheckpoint(filename=template, auto_insert_metric_name=insert)
    fit(make(callback, max_epochs=2), Scripted(by_epoch(0.5, 0.25), metric="val/loss"))
    assert names(tmp_path / "checkpoints") == [name]
    values = {"epoch": 1, "step": 8, "val/loss": torch.tensor(0.25)}
    assert callback.format_checkpoint_name(values) == callback.best_model_path


def test_a_name_may_have_folders(make, tmp_path):
    fit(make(ModelCheckpoint(filename="{epoch}/{step}", save_top_k=2), max_epochs=2), Scripted(falling))
    assert names(tmp_path / "checkpoints" / "epoch=1") == ["step=8.ckpt"]


@pytest.mark.parametrize("template", ["{epoch", "{epoch:.q}", "{val_loss:d}"])
def test_a_wrong_name_is_an_error_at_once(template):
    with pytest.raises(ConfigurationError, match="filename="):
        ModelCheckpoint(filename=template)


def test_other_files_are_never_overwritten(make, tmp_path):
    fit(make(ModelCheckpoint(filename="model", save_last=True), max_epochs=2), Scripted(falling))
    callback = ModelCheckpoint(filename="model", save_last=True)
    with pytest.warns(UserWarning, match=r"'last\.ckpt' in .*: another run's"):
        fit(make(callback, max_epochs=2), Scripted(falling))
    expected = ["last-v1.ckpt", "last.ckpt", "model-v1.ckpt", "model.ckpt"]
    assert names(tmp_path / "checkpoints") == expected
    assert os.path.basename(callback.best_model_path) == "model-v1.ckpt"


def test_several_under_one_name(make, tmp_path):
    fit(make(ModelCheckpoint(filename="model", save_top_k=2), max_epochs=4), Scripted(falling))
    assert names(tmp_path / "checkpoints") == ["model-v1.ckpt", "model.ckpt"]


def test_any_file_system(make):
    import fsspec

    fs = fsspec.filesystem("memory")
    callback = ModelCheckpoint(dirpath="memory://runs/one", save_last=True)
    fit(make(callback, max_epochs=2), Scripted(falling))
    found = sorted(path.rsplit("/", 1)[-1] for path in fs.ls("/runs/one", detail=False))
    assert found == ["epoch=1-step=8.ckpt", "last.ckpt"]
    assert inside.read(callback.best_model_path)["global_step"] == 8
    fs.rm("/runs", recursive=True)


# ---- what is in the file, what is printed


def test_a_file_knows_of_itself(make, tmp_path):
    callback = ModelCheckpoint(monitor="val_loss", save_top_k=2)
    fit(make(callback, max_epochs=3), Scripted(by_epoch(0.3, 0.2, 0.1)))
    state = inside.read(callback.best_model_path)["callbacks"][callback.state_key]
    assert state["best_model_path"] == callback.best_model_path
    assert state["best_model_score"] == pytest.approx(0.1)
    assert state["best_k_models"] == callback.best_k_models


def test_weights_only(make, tmp_path):
    callback = ModelCheckpoint(save_weights_only=True)
    fit(make(callback, max_epochs=1), Scripted(falling))
    saved = inside.read(callback.best_model_path)
    assert saved["state_dict"]["weight"].shape == (1,)
    assert "clock" not in saved


def test_it_says_what_it_saves(make, tmp_path, capsys):
    fit(make(ModelCheckpoint(monitor="val_loss", verbose=True), max_epochs=1), Scripted(by_epoch(0.25)))
    path = tmp_path / "checkpoints" / "epoch=0-step=4.ckpt"
    assert capsys.readouterr().out == f"Epoch 0, step 4, val_loss 0.25: saved {path}\n"


def test_several_side_by_side(make, tmp_path):
    best = ModelCheckpoint(monitor="val_loss", filename="best")
    steps = ModelCheckpoint(every_n_train_steps=2, filename="{step}")
    trainer = fit(make(best, steps, max_epochs=2), Scripted(by_epoch(0.1, 0.2)))
    assert names(tmp_path / "checkpoints") == ["best.ckpt", "step=8.ckpt"]
    assert trainer.checkpoint_callbacks == [best, steps]
    assert best.state_key != steps.state_key
    assert trainer.checkpoint_callback is best


# ---- arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "least"}, "mode='least'"),
        ({"save_top_k": -2}, "save_top_k=-2"),
        ({"every_n_epochs": -1}, "every_n_epochs=-1"),
        ({"every_n_train_steps": 1.5}, "every_n_train_steps=1.5"),
        ({"train_time_interval": 5}, "train_time_interval=5"),
        ({"every_n_train_steps": 5, "every_n_epochs": 2}, "every_n_epochs=2, every_n_train_steps=5"),
        ({"every_n_train_steps": 5, "train_time_interval": timedelta(1)}, "exclude each other"),
    ],
)
def test_impossible_arguments(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        ModelCheckpoint(**arguments)


def test_a_metric_that_is_not_there_is_nan_in_a_name_and_told_once(make, tmp_path):
    callback = ModelCheckpoint(tmp_path, filename="{epoch}-{val_los:.2f}", save_top_k=-1)
    with pytest.warns(UserWarning, match=r"nobody has logged 'val_los' yet.*Logged are .*'val_loss'") as told:
        fit(make(callback, max_epochs=2), Scripted(by_epoch(0.3, 0.2)))
    assert len([w for w in told if "val_los'" in str(w.message)]) == 1
    assert names(tmp_path) == ["epoch=0-val_los=nan.ckpt", "epoch=1-val_los=nan.ckpt"]
