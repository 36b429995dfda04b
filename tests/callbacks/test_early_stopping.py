"""EarlyStopping: when it stops, by what, and that a continued run stops at the same place."""

from __future__ import annotations

import math

import pytest

from functrain.trainer.errors import ConfigurationError
from functrain_torch.callbacks import EarlyStopping, ModelCheckpoint
from tests.callbacks.helpers import BATCHES, Scripted, Unvalidated, by_epoch, fit


def epochs_of(make, callback, values, **flags):
    """How many epochs a run has whose validation loss goes like this."""
    trainer = fit(make(callback, **{"max_epochs": len(values), **flags}), Scripted(by_epoch(*values)))
    return trainer.global_step // BATCHES


@pytest.mark.parametrize(
    ("values", "arguments", "epochs", "reason"),
    [
        ((5, 4, 3, 2, 1), {"patience": 1}, 5, None),
        ((5, 4, 4, 4, 4, 4), {"patience": 3}, 5, "did not improve on 4"),
        ((5, 6, 4, 6, 6, 3), {"patience": 2}, 5, "did not improve"),
        ((5, 5, 1), {"patience": 0}, 2, "did not improve"),
        ((5, 4.5, 4.0, 3.4), {"patience": 2, "min_delta": 1.0}, 3, "by more than 1"),
        ((5, 4.5, 3.9, 3.4), {"patience": 2, "min_delta": 1.0}, 4, None),
        ((1, 2, 3, 2, 2), {"mode": "max", "patience": 2}, 5, "did not improve on 3"),
        ((3, 2, 2, 1), {"mode": "max", "patience": 2}, 3, "did not improve on 3"),
        ((3, 0.5, 0.4), {"stopping_threshold": 1.0}, 2, "better than the stopping threshold 1"),
        ((3, 10, 1), {"divergence_threshold": 9.0}, 2, "worse than the divergence threshold 9"),
        ((0.5, 0.99, 1), {"mode": "max", "stopping_threshold": 0.9}, 2, "better than"),
        ((3, math.nan, 1), {}, 2, "val_loss is nan"),
        ((3, -math.inf, 1), {}, 2, "val_loss is -inf"),
        ((3, math.nan, math.nan, 1), {"check_finite": False, "patience": 2}, 3, "did not improve on 3"),
    ],
)
def test_when_it_stops(make, values, arguments, epochs, reason):
    callback = EarlyStopping("val_loss", **arguments)
    assert epochs_of(make, callback, values) == epochs
    if reason is None:
        assert callback.stopping_reason is None
        assert callback.stopped_epoch == 0
    else:
        assert reason in callback.stopping_reason
        assert callback.stopped_epoch == epochs - 1


def test_values_are_kept(make):
    callback = EarlyStopping("val_loss", patience=5)
    epochs_of(make, callback, (5, 2, 3, 4))
    assert (callback.best_score, callback.wait_count) == (2.0, 2)


def test_the_direction_may_come_from_the_name(make):
    assert EarlyStopping("val_acc", mode="auto").mode == "max"
    assert EarlyStopping("val_loss", mode="auto").mode == "min"
    assert EarlyStopping("Val-F1", mode="auto").mode == "max"
    with pytest.raises(ConfigurationError, match="mode='up'"):
        EarlyStopping("val_loss", mode="up")
    with pytest.raises(ConfigurationError, match="patience=-1"):
        EarlyStopping("val_loss", patience=-1)


def test_minima_are_met_first(make):
    assert epochs_of(make, EarlyStopping("val_loss", patience=1), (1, 2, 3, 4, 5, 6), min_epochs=4) == 4


def test_every_validation_counts_once(make):
    """Validated in epochs 1, 3, 5, 7: three looks without improvement after the first."""
    callback = EarlyStopping("val_loss", patience=3)
    assert epochs_of(make, callback, [1.0] * 20, check_val_every_n_epoch=2) == 8


def test_validations_within_an_epoch_count(make):
    callback = EarlyStopping("val_loss", patience=2)
    trainer = fit(make(callback, max_epochs=5, min_epochs=0, val_check_interval=1), Scripted(by_epoch(1, 1, 1, 1, 1)))
    assert trainer.global_step == 3
    assert callback.stopped_epoch == 0


def test_at_the_end_of_epochs_only(make):
    callback = EarlyStopping("val_loss", patience=2, check_on_train_epoch_end=True)
    trainer = fit(make(callback, max_epochs=9, val_check_interval=1), Scripted(by_epoch(*[1.0] * 9)))
    assert trainer.global_step == 3 * BATCHES


@pytest.mark.parametrize("module", [Unvalidated, Scripted])
def test_a_metric_of_the_training(make, module):
    callback = EarlyStopping("train_loss", mode="max", patience=2)
    trainer = fit(make(callback, max_epochs=9), module(by_epoch(*[1.0] * 9)))
    assert trainer.global_step == 3 * BATCHES


def test_an_unknown_metric(make):
    with pytest.raises(ConfigurationError, match=r"'val_los'.*'train_loss', 'val_loss'.*mean 'val_loss'.*strict=False"):
        epochs_of(make, EarlyStopping("val_los"), (1, 2))
    with pytest.warns(UserWarning, match="nobody logs") as warned:
        assert epochs_of(make, EarlyStopping("val_los", strict=False), (1, 2, 3)) == 3
    assert len(warned) == 1


def test_a_metric_may_come_with_the_first_validation(make):
    assert epochs_of(make, EarlyStopping("val_loss"), [1.0] * 4, check_val_every_n_epoch=3) == 4


def test_it_says_what_it_finds(make, capsys):
    epochs_of(make, EarlyStopping("val_loss", patience=1, verbose=True), (2, 3))
    assert capsys.readouterr().out == (
        "EarlyStopping: val_loss improved to 2 (epoch 0)\n"
        "EarlyStopping: val_loss did not improve on 2 by more than 0 in 1 checks in a row (epoch 1)\n"
    )


def test_a_second_fit_counts_from_the_start(make):
    callback = EarlyStopping("val_loss", patience=1)
    trainer = make(callback, max_epochs=4)
    for _ in range(2):
        fit(trainer, Scripted(by_epoch(1, 1, 1, 1)))
        assert trainer.global_step == 2 * BATCHES


@pytest.mark.parametrize("step", range(1, 15))
def test_a_continued_run_stops_where_the_whole_one_does(make, tmp_path, step):
    """Wherever the checkpoint was taken: between validation and stop, too."""
    values, flags = (5, 4, 4.5, 4.6, 4.7, 1), {"max_epochs": 9, "val_check_interval": 2}

    def parts():
        stop = EarlyStopping("val_loss", patience=4)
        save = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=1)
        return stop, save, make(stop, save, **flags)

    whole, _, trainer = parts()
    fit(trainer, Scripted(by_epoch(*values)))
    assert trainer.global_step == 14
    again, _, second = parts()
    fit(second, Scripted(by_epoch(*values)), ckpt_path=str(tmp_path / f"step={step}.ckpt"))
    assert second.global_step == trainer.global_step
    assert again.state_dict() == whole.state_dict()
