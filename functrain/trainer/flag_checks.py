"""Are the Trainer's flags possible, alone and together? Each error names the flag, its value and what to do."""

from __future__ import annotations

import math
import os
import warnings
from datetime import timedelta
from typing import Any, NoReturn

from functrain.kernel.window import Schedule
from functrain.trainer import precisions, profiler_names
from functrain.trainer.callback import Callback
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.flags import Flags
from functrain.trainer.narrow import is_mapping, is_number, is_sequence
from functrain.trainer.walk import MODES


def check(flags: Flags) -> None:
    """Look at every flag.

    Raises:
        ConfigurationError: an impossible value, or two that contradict each other.
    """
    for one in (_counts, _fractions, _choices, _switches, _paths, _pairs, _devices, _objects):
        one(flags)


def _fail(message: str) -> NoReturn:
    raise ConfigurationError(message)


def _counts(flags: Flags) -> None:
    at_least = {
        "max_epochs": -1, "max_steps": -1, "min_epochs": 0, "min_steps": 0, "num_sanity_val_steps": -1,
        "check_val_every_n_epoch": 1, "log_every_n_steps": 1, "flush_logs_every_n_steps": 1,
        "progress_bar_refresh_rate": 0, "process_position": 0, "reload_dataloaders_every_n_epochs": 0,
        "truncated_bptt_steps": 1, "fast_dev_run": 0,
    }  # fmt: skip
    or_none = (
        "max_epochs", "max_steps", "min_epochs", "min_steps", "check_val_every_n_epoch", "truncated_bptt_steps",
    )  # fmt: skip
    or_bool = ("fast_dev_run", "reload_dataloaders_every_n_epochs")
    for name, least in at_least.items():
        value = getattr(flags, name)
        if value is None and name in or_none:
            continue
        if not isinstance(value, int) or (isinstance(value, bool) and name not in or_bool):
            _fail(f"Trainer({name}={value!r}): must be an int, not {type(value).__name__}.")
        if value < least:
            _fail(f"Trainer({name}={value!r}): must be at least {least}.")


def _fractions(flags: Flags) -> None:
    names = [f"limit_{stage}_batches" for stage in ("train", "val", "test", "predict")]
    for name in (*names, "overfit_batches", "val_check_interval"):
        value = getattr(flags, name)
        if not is_number(value) or not 0 <= value < math.inf:
            _fail(f"Trainer({name}={value!r}): must be an int >= 0 (batches) or a float from 0.0 to 1.0 (a fraction).")
        if isinstance(value, float) and value > 1.0:
            _fail(
                f"Trainer({name}={value!r}): a float is a fraction, at most 1.0; for {int(value)} batches give an int."
            )
    if flags.val_check_interval == 0:
        _fail("Trainer(val_check_interval=0): must be > 0; to run no validation use limit_val_batches=0.")


def _choices(flags: Flags) -> None:
    choices = {
        "gradient_clip_algorithm": ("norm", "value"),
        "weights_summary": ("top", "full", None),
        "precision": precisions.FLAGS,
        "multiple_trainloader_mode": MODES,
    }
    for name, allowed in choices.items():
        value = getattr(flags, name)
        if value not in allowed or isinstance(value, float):
            _fail(f"Trainer({name}={value!r}): must be one of {', '.join(repr(a) for a in allowed)}.")
    find: Any = flags.auto_lr_find
    if find is not None and not isinstance(find, bool | str):
        _fail(f"Trainer(auto_lr_find={find!r}): must be True, False or the attribute's name.")
    if flags.auto_scale_batch_size not in (True, False, None, "power", "binsearch"):
        _fail(
            f"Trainer(auto_scale_batch_size={flags.auto_scale_batch_size!r}): must be True, False, 'power' or "
            "'binsearch'."
        )
    clip = flags.gradient_clip_val
    bounds = is_number(clip) and clip >= 0
    if clip is not None and not bounds:
        _fail(f"Trainer(gradient_clip_val={clip!r}): must be a number >= 0; 0 leaves gradients as they are.")
    norm = flags.track_grad_norm
    is_norm = norm in (-1, "inf") or (isinstance(norm, int | float) and norm > 0)
    if not is_norm:
        _fail(f"Trainer(track_grad_norm={norm!r}): must be a p > 0, 'inf', or -1 for none.")
    size: Any = flags.accumulate_grad_batches
    is_no_size = isinstance(size, bool) or not (isinstance(size, int) or is_mapping(size))
    if is_no_size:
        _fail(f"Trainer(accumulate_grad_batches={size!r}): must be an int >= 1, or a dict {{from_epoch: int}}.")
    try:
        Schedule(size)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"Trainer(accumulate_grad_batches={size!r}): {error}") from None


def _switches(flags: Flags) -> None:
    names = (
        "benchmark", "inference_mode", "terminate_on_nan", "automatic_optimization", "prepare_data_per_node",
        "move_metrics_to_cpu", "replace_sampler_ddp", "stochastic_weight_avg",
    )  # fmt: skip
    for name in names:
        value = getattr(flags, name)
        if value not in (True, False, None) or isinstance(value, float):
            _fail(f"Trainer({name}={value!r}): must be True or False.")


def _paths(flags: Flags) -> None:
    for name in ("default_root_dir", "weights_save_path", "resume_from_checkpoint"):
        value = getattr(flags, name)
        if value is not None and not isinstance(value, str | os.PathLike):
            _fail(f"Trainer({name}={value!r}): must be a path or a URL, not {type(value).__name__}.")
    if flags.resume_from_checkpoint == "":
        _fail("Trainer(resume_from_checkpoint=''): an empty string names no checkpoint; give a path or None.")


def _pairs(flags: Flags) -> None:
    for low, high in (("min_epochs", "max_epochs"), ("min_steps", "max_steps")):
        least, most = getattr(flags, low), getattr(flags, high)
        contradict = least is not None and most is not None and 0 <= most < least
        if contradict:
            _fail(f"Trainer({low}={least}, {high}={most}): the minimum is above the maximum.")
    if flags.check_val_every_n_epoch is None and not isinstance(flags.val_check_interval, int):
        _fail(
            f"Trainer(check_val_every_n_epoch=None, val_check_interval={flags.val_check_interval!r}): batches are "
            "counted on from epoch to epoch, so val_check_interval must be an int number of them."
        )
    if flags.deterministic not in (True, False, None, "warn") or isinstance(flags.deterministic, float):
        _fail(f"Trainer(deterministic={flags.deterministic!r}): must be True, False or 'warn'.")
    if flags.deterministic and flags.benchmark:
        _fail("Trainer(deterministic=True, benchmark=True): benchmarking picks algorithms by time; leave one out.")
    max_time(flags.max_time)


def _devices(flags: Flags) -> None:
    if flags.strategy not in (None, "auto"):
        _fail(f"Trainer(strategy={flags.strategy!r}): this version runs on one device; use 'auto' or None.")
    if flags.accelerator not in (None, "cpu", "gpu", "cuda", "auto"):
        _fail(
            f"Trainer(accelerator={flags.accelerator!r}): this version runs on one device; use 'cpu', 'gpu', 'auto' "
            "or None."
        )
    for name in ("num_nodes", "num_processes"):
        if getattr(flags, name) != 1:
            _fail(f"Trainer({name}={getattr(flags, name)!r}): this version runs on one device; leave it at 1.")
    if flags.devices not in (None, 1, "1", "auto", -1) and flags.devices != [0]:
        _fail(f"Trainer(devices={flags.devices!r}): this version runs on one device; leave it out.")
    if flags.gpus not in (None, 0, 1, "0", "1", [0], [], -1, "-1"):
        _fail(f"Trainer(gpus={flags.gpus!r}): this version runs on one device; use gpus=1, or 0 for the CPU.")
    if flags.accelerator == "cpu" and flags.gpus not in (None, 0, "0", []):
        _fail(f"Trainer(accelerator='cpu', gpus={flags.gpus!r}): these contradict each other; leave one out.")


def warn_of_unused(flags: Flags) -> None:
    """Say it where one flag leaves another without effect."""
    limits = {name: getattr(flags, name) for name in ("limit_train_batches", "limit_val_batches", "limit_test_batches")}
    whole = {name for name, value in limits.items() if value is None or (isinstance(value, float) and value == 1.0)}
    if limits["limit_val_batches"] == 0:  # which holds
        whole.add("limit_val_batches")
    unused = [f"{name}={value!r}" for name, value in limits.items() if name not in whole]
    if flags.overfit_batches and unused:
        warnings.warn(
            f"Trainer(overfit_batches={flags.overfit_batches!r}, {', '.join(unused)}): overfit_batches says how many "
            "batches are used in every stage, so the limits are not; leave them out.",
            UserWarning,
            stacklevel=5,
        )


def callbacks_of(given: Any, where: str) -> list[Callback]:
    """One callback, several or None, as a list. True stands for an EarlyStopping.

    Args:
        where: what they were given to, with %s for the one that is wrong.

    Raises:
        ConfigurationError: something among them is no callback.
    """
    callbacks = [] if given is None else [given]
    if is_sequence(given):
        callbacks = list(given)
    for callback in callbacks:
        if callback is not True and not isinstance(callback, Callback):
            name = callback.__name__ if isinstance(callback, type) else repr(callback)[:60]
            _fail(f"{where % name}: must be an instance of a Callback, such as EarlyStopping('val_loss').")
    return callbacks


def _objects(flags: Flags) -> None:
    callbacks_of(flags.callbacks, "Trainer(callbacks=[%s])")
    loggers = flags.logger if is_sequence(flags.logger) else [flags.logger]
    for logger in (*loggers, flags.checkpoint_callback):
        if isinstance(logger, type):
            _fail(f"Trainer: {logger.__name__} is a class; give an instance of it: {logger.__name__}(...).")
    profiler_names.check(flags.profiler)


def max_time(value: Any) -> float | None:
    """Return the flag's time limit in seconds; see `seconds_of`."""
    return seconds_of(value, f"Trainer(max_time={value!r})")


def seconds_of(value: Any, named: str) -> float | None:
    """Return a duration in seconds; None for None.

    Args:
        named: what was given, as the user wrote it, for messages.

    Raises:
        ConfigurationError: it is none of the forms that a duration has.
    """
    if value is None:
        return None
    try:
        if is_mapping(value):
            value = timedelta(**value)
        if not isinstance(value, timedelta):
            days, hours, minutes, seconds = (int(part) for part in value.split(":"))
            value = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    except (TypeError, ValueError, AttributeError):
        raise ConfigurationError(
            f"{named}: must be 'DD:HH:MM:SS', a datetime.timedelta, or a dict of its arguments."
        ) from None
    if value < timedelta(0):
        _fail(f"{named}: must not be negative.")
    return value.total_seconds()
