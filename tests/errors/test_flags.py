"""Flags as a new user gets them wrong. Needs no framework; nothing is run."""

from __future__ import annotations

import re
from datetime import timedelta
from importlib import import_module
from pathlib import Path

import pytest

from functrain import Trainer
from functrain.callbacks import EarlyStopping, ModelCheckpoint
from functrain.loggers import CSVLogger
from functrain.profilers import SimpleProfiler
from functrain.trainer.callback import Callback
from functrain.trainer.errors import ConfigurationError, OlderNameWarning
from functrain_torch.compat.trainer import OLDER_FLAGS


def make(**flags):
    return Trainer(**{"logger": False, "weights_summary": None, **flags})


# name as it was given -> what is among the suggestions
NEAREST = {
    "max_epoch": "max_epochs",
    "epochs": "max_epochs",
    "max_step": "max_steps",
    "gpu": "gpus",
    "loggers": "logger",
    "callback": "callbacks",
    "accumulate_gradient_batches": "accumulate_grad_batches",
    "limit_train_batch": "limit_train_batches",
    "grad_clip_val": "gradient_clip_val",
    "val_check_intervall": "val_check_interval",
    "presicion": "precision",
    "log_every_step": "log_every_n_steps",
    "fast_devrun": "fast_dev_run",
    "resume": None,
    "checkpoint": None,
    "seed": None,
}


@pytest.mark.parametrize("name", NEAREST)
def test_unknown(name):
    with pytest.raises(ConfigurationError) as error:
        make(**{name: 1})
    said = str(error.value)
    assert said.startswith(f"Trainer({name}=1): unknown flag.")
    if NEAREST[name] is not None:
        assert repr(NEAREST[name]) in said


COUNTS = ["max_epochs", "max_steps", "min_epochs", "min_steps", "check_val_every_n_epoch", "log_every_n_steps",
          "flush_logs_every_n_steps", "num_sanity_val_steps", "progress_bar_refresh_rate", "process_position",
          "truncated_bptt_steps", "reload_dataloaders_every_n_epochs", "fast_dev_run"]  # fmt: skip
LIMITS = ["limit_train_batches", "limit_val_batches", "limit_test_batches", "limit_predict_batches", "overfit_batches"]
SWITCHES = ["benchmark", "inference_mode", "terminate_on_nan", "automatic_optimization"]

WRONG = [
    *((name, value, r"must be an int, not (float|str)") for name in COUNTS for value in (1.5, "3")),
    *((name, -7, r"must be at least -?\d") for name in COUNTS),
    *((name, True, "must be an int, not bool") for name in COUNTS[:6]),
    *((name, value, "must be an int >= 0 (batches) or a float from 0.0 to 1.0") for name in LIMITS
      for value in (-1, -0.5, "0.5", True, float("nan"), float("inf"))),
    *((name, 3.0, "a float is a fraction, at most 1.0; for 3 batches give an int") for name in LIMITS),
    *((name, value, "must be True or False") for name in SWITCHES for value in ("yes", 2, 0.5)),
    ("val_check_interval", 0, "must be > 0; to run no validation use limit_val_batches=0"),
    ("val_check_interval", 1.5, "a float is a fraction, at most 1.0"),
    ("val_check_interval", "1", "must be an int >= 0"),
    ("precision", 8, "must be one of 64, 32, 16"), ("precision", "fp16", "must be one of 64, 32, 16"),
    ("precision", 32.0, "must be one of 64, 32, 16"), ("precision", None, "must be one of 64, 32, 16"),
    ("gradient_clip_val", -1, "must be a number >= 0"), ("gradient_clip_val", "1", "must be a number >= 0"),
    ("gradient_clip_val", float("nan"), "must be a number >= 0"),
    ("gradient_clip_algorithm", "l2", "must be one of 'norm', 'value'"),
    ("track_grad_norm", 0, "must be a p > 0, 'inf', or -1"), ("track_grad_norm", "l2", "must be a p > 0"),
    *(("accumulate_grad_batches", value, "must be an int >= 1, or a dict") for value in (1.5, "4", None, True, [3])),
    ("accumulate_grad_batches", 0, "must be an int >= 1"), ("accumulate_grad_batches", {0: 0}, "must be an int >= 1"),
    ("accumulate_grad_batches", {-1: 2}, "epoch -1 must be an int >= 0"),
    ("accumulate_grad_batches", {"a": 2}, "epoch 'a' must be an int >= 0"),
    *(("max_time", value, "must be 'DD:HH:MM:SS', a datetime.timedelta, or a dict")
      for value in ("1h", 5, {"hour": 1}, "1:2:3", [1])),
    ("max_time", timedelta(seconds=-1), "must not be negative"),
    ("weights_summary", "all", "must be one of 'top', 'full', None"),
    ("accelerator", "ddp", "this version runs on one device"), ("accelerator", 3, "this version runs on one device"),
    ("devices", 2, "this version runs on one device"), ("gpus", 2, "use gpus=1, or 0 for the CPU"),
    ("num_nodes", 2, "leave it at 1"), ("num_processes", 4, "leave it at 1"),
    ("default_root_dir", 3, "must be a path or a URL, not int"),
    ("resume_from_checkpoint", 3, "must be a path or a URL, not int"),
    ("profiler", "simpel", "must be one of 'advanced', 'jax', 'pytorch', 'simple', 'xla', or a Profiler"),
    ("profiler", 3, "an int is no profiler, which has profile(action_name); give one of 'advanced'"),
    ("profiler", True, "a bool is no profiler"),
    ("profiler", SimpleProfiler, "SimpleProfiler is a class; give an instance"),
    ("auto_lr_find", 3, "must be True, False or the attribute's name"),
    ("auto_scale_batch_size", "double", "must be True, False, 'power' or 'binsearch'"),
    ("checkpoint_callback", "here", "must be True, False or a ModelCheckpoint"),
    ("logger", "tensorboard", "str is no logger; give True, False, a Logger"),
    ("logger", [3], "int is no logger"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "says"), WRONG, ids=lambda v: repr(v)[:30])
def test_wrong_values(name, value, says):
    with pytest.raises(ConfigurationError) as error:
        make(**{name: value})
    said = str(error.value)
    assert f"{name}={value!r}" in said
    assert re.search(says if says.startswith("must be an int, not (") or "\\d" in says else re.escape(says), said), said


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"min_epochs": 5, "max_epochs": 2}, "(min_epochs=5, max_epochs=2): the minimum is above the maximum"),
        ({"min_steps": 5, "max_steps": 2}, "(min_steps=5, max_steps=2): the minimum is above the maximum"),
        ({"deterministic": True, "benchmark": True}, "(deterministic=True, benchmark=True)"),
        ({"accelerator": "cpu", "gpus": 1}, "(accelerator='cpu', gpus=1): these contradict each other"),
        ({"strategy": "ddp", "accelerator": "cpu"}, "(strategy='ddp'): this version runs on one device"),
        ({"checkpoint_callback": False, "enable_checkpointing": True}, "two names of one flag"),
        ({"progress_bar_refresh_rate": 0, "enable_progress_bar": True}, "two names of one flag"),
        ({"checkpoint_callback": False, "callbacks": [ModelCheckpoint()]}, "these contradict each other"),
    ],
    ids=lambda value: value if isinstance(value, str) else ", ".join(value),
)
def test_contradictions(flags, says):
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        make(**flags)


@pytest.mark.parametrize("limit", [{"limit_train_batches": 3}, {"limit_val_batches": 1, "limit_test_batches": 0.5}])
def test_overfit_batches_wins_over_limits(limit):
    says = f"Trainer(overfit_batches=2, {', '.join(f'{name}={value}' for name, value in limit.items())})"
    with pytest.warns(UserWarning, match=re.escape(f"{says}: overfit_batches says how many")):
        make(overfit_batches=2, **limit)
    make(overfit_batches=2, limit_val_batches=0, limit_train_batches=1.0)


class Mine(Callback):
    pass


NO_CALLBACKS = [
    (object(), "<object object"),
    ([Mine], "Mine"),
    (Mine, "Mine"),
    ([Mine(), 3], "3"),
    ([None], "None"),
    ("Mine", "'Mine'"),
]


@pytest.mark.parametrize(("given", "named"), NO_CALLBACKS)
def test_callbacks(given, named):
    expected = rf"Trainer\(callbacks=\[{re.escape(named)}.*must be an instance of a Callback"
    with pytest.raises(ConfigurationError, match=expected):
        make(callbacks=given)


def test_classes_of_loggers_and_checkpoints():
    with pytest.raises(ConfigurationError, match=r"CSVLogger is a class; give an instance of it: CSVLogger\(\.\.\.\)"):
        make(logger=CSVLogger)
    with pytest.raises(ConfigurationError, match="ModelCheckpoint is a class"):
        make(checkpoint_callback=ModelCheckpoint)


@pytest.mark.parametrize(
    ("make_one", "says"),
    [
        (lambda: ModelCheckpoint(save_top_k=-2), "save_top_k=-2"),
        (lambda: ModelCheckpoint(save_top_k=1.5), "save_top_k=1.5"),
        (lambda: ModelCheckpoint(mode="best"), "mode='best'"),
        (lambda: ModelCheckpoint(every_n_epochs=1, every_n_train_steps=2), "every_n_epochs=1, every_n_train_steps=2"),
        (lambda: ModelCheckpoint(filename="{epoch"), "filename='{epoch'"),
        (lambda: EarlyStopping(mode="up"), "mode='up'"),
        (lambda: EarlyStopping(patience=-1), "patience=-1"),
        (lambda: EarlyStopping(patience=1.5), "patience=1.5"),
    ],
)
def test_arguments_of_callbacks(make_one, says):
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        make_one()


@pytest.mark.parametrize("name", OLDER_FLAGS)
@pytest.mark.parametrize("package", ["functrain", "functrain_jax"])
def test_older_names_are_torchs_alone(package, name):
    trainer = import_module(package).Trainer
    with pytest.raises(ConfigurationError, match=rf"Trainer\({name}=1\): unknown flag"):
        trainer(**{name: 1})


OTHER_NAMES = {
    "enable_checkpointing=False": {"enable_checkpointing": False, "callbacks": [ModelCheckpoint()]},
    "enable_checkpointing='best'": {"enable_checkpointing": "best"},
    "strategy='ddp'": {"strategy": "ddp"},
    "detect_anomaly=3": {"detect_anomaly": 3},
}


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_an_error_names_the_flag_as_it_was_given(name):
    with pytest.raises(ConfigurationError, match=re.escape(f"Trainer({name}")):
        make(**OTHER_NAMES[name])


def test_an_error_names_an_older_flag_as_it_was_given():
    pl = import_module("functrain_torch")
    with (
        pytest.warns(OlderNameWarning, match="max_nb_epochs"),
        pytest.raises(ConfigurationError, match=re.escape("Trainer(max_nb_epochs=-5): must be at least -1")),
    ):
        pl.Trainer(logger=False, max_nb_epochs=-5)


def test_a_positional_argument():
    with pytest.raises(TypeError, match="positional argument"):
        Trainer(3)  # type: ignore[misc]


def test_an_attribute_that_is_not_there():
    with pytest.raises(AttributeError, match=r"Trainer has no attribute 'max_epoch'. Did you mean 'max_epochs'"):
        _ = make().max_epoch


def test_a_flag_that_is_set_on_a_trainer_does_not_go_unsaid():
    trainer = make(log_every_n_steps=5)
    with pytest.raises(AttributeError, match=r"trainer\.log_every_n_steps = 10: the flags of a Trainer are settled"):
        trainer.log_every_n_steps = 10  # type: ignore[misc]
    assert trainer.log_every_n_steps == 5


def test_what_is_right():
    """Nothing of this is an error."""
    make(max_epochs=-1, max_steps=-1, max_time="00:00:00:05", default_root_dir=Path("x"), limit_val_batches=0)
    make(max_epochs=0, max_steps=0, accumulate_grad_batches={4: 2}, gradient_clip_val=None, terminate_on_nan=None)
    make(fast_dev_run=True, reload_dataloaders_every_n_epochs=True, precision="16-mixed", overfit_batches=0.5)
    make(limit_train_batches=1, val_check_interval=1, num_sanity_val_steps=-1, devices=1, num_nodes=1)
