"""Every documented flag of the Trainer: name, default, type, help; validated once into a frozen value. Imports no
framework.

Older names come in through `RENAMED` and say what replaced them. A flag that is documented but not built yet takes its
default only, and says so otherwise.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from functrain.trainer.errors import ConfigurationError, nearest
from functrain.trainer.flag_checks import check


def flag(default: Any, help: str) -> Any:
    """A field of `Flags`, with its one line of help."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, kw_only=True)
class Flags:
    """The flags of one Trainer, by their present names."""

    logger: Any = flag(True, "a logger, a list of them, True for TensorBoard, False for none")
    checkpoint_callback: Any = flag(True, "save checkpoints: True for a default ModelCheckpoint, False for none")
    callbacks: Any = flag(None, "a callback or a list of them")
    default_root_dir: str | None = flag(None, "where logs and checkpoints go; default: the current directory")
    weights_save_path: str | None = flag(None, "where checkpoints go, if elsewhere than default_root_dir")
    gradient_clip_val: float | None = flag(0.0, "bound on the gradient; 0 or None leaves it")
    gradient_clip_algorithm: str = flag("norm", "'norm' of the whole gradient, or 'value' of each component")
    track_grad_norm: Any = flag(-1, "log this p-norm of the gradients; -1 for none")
    accumulate_grad_batches: Any = flag(1, "batches an update: an int, or {from_epoch: int}")
    max_epochs: int | None = flag(
        None, "stop after so many epochs; default 1000 where no other limit is set; -1 for none"
    )
    min_epochs: int | None = flag(None, "train for at least so many epochs; default 1")
    max_steps: int | None = flag(None, "stop after so many updates, and after a whole batch; None or -1 for no limit")
    min_steps: int | None = flag(None, "train for at least so many updates")
    max_time: Any = flag(None, "stop after this time: 'DD:HH:MM:SS', a timedelta, or a dict of its arguments")
    limit_train_batches: int | float = flag(
        1.0, "how much of the training data an epoch sees: int batches or a fraction"
    )
    limit_val_batches: int | float = flag(1.0, "how much of each validation loader is used")
    limit_test_batches: int | float = flag(1.0, "how much of each test loader is used")
    limit_predict_batches: int | float = flag(1.0, "how much of each predict loader is used")
    overfit_batches: int | float = flag(0.0, "train, validate and test on these same training batches, unshuffled")
    fast_dev_run: bool | int = flag(
        False,
        "run n batches of every stage for one epoch, writing nothing; other limits and intervals do not count",
    )
    check_val_every_n_epoch: int | None = flag(
        1, "validate in every n-th epoch; None: an int val_check_interval counts on from epoch to epoch"
    )
    val_check_interval: int | float = flag(1.0, "validate within an epoch: every n batches, or at this fraction of it")
    num_sanity_val_steps: int = flag(2, "validation batches to try before training; -1 for all")
    log_every_n_steps: int = flag(50, "write step metrics every n updates")
    flush_logs_every_n_steps: int = flag(100, "flush the loggers to disk every n updates")
    precision: Any = flag(32, "64, 32, 16 (or '16-mixed'), 'bf16' (or 'bf16-mixed')")
    deterministic: bool = flag(False, "only deterministic algorithms")
    benchmark: bool = flag(False, "let cuDNN look for the fastest algorithms")
    accelerator: Any = flag(None, "'cpu', 'gpu', 'auto' or None")
    devices: Any = flag(None, "how many devices; one for now")
    gpus: Any = flag(None, "None or 0 for the CPU; 1 for one GPU")
    num_nodes: int = flag(1, "how many machines; one for now")
    num_processes: int = flag(1, "how many processes; one for now")
    resume_from_checkpoint: str | None = flag(None, "continue from this checkpoint; the same as fit(ckpt_path=...)")
    reload_dataloaders_every_n_epochs: int = flag(0, "ask for the loaders again every n epochs")
    progress_bar_refresh_rate: int = flag(1, "refresh the bar at most every n batches; 0 for no bar")
    process_position: int = flag(0, "the bar's line, where several trainers run side by side")
    weights_summary: str | None = flag("top", "print a summary of the module: 'top', 'full' or None")
    terminate_on_nan: bool = flag(False, "stop with an error where the loss or a parameter is not finite")
    truncated_bptt_steps: int | None = flag(None, "cut batches along time into pieces of so many steps")
    automatic_optimization: bool | None = flag(None, "False hands the optimizers to training_step")
    prepare_data_per_node: bool = flag(True, "prepare_data once a node instead of once altogether")
    move_metrics_to_cpu: bool = flag(False, "keep epoch metrics on the CPU")
    replace_sampler_ddp: bool = flag(True, "put in distributed samplers by itself")


NAMES: tuple[str, ...] = tuple(f.name for f in fields(Flags))
DEFAULTS: dict[str, Any] = {f.name: f.default for f in fields(Flags)}
HELP: dict[str, str] = {f.name: f.metadata["help"] for f in fields(Flags)}

# Older name -> present name.
RENAMED: dict[str, str] = {
    "max_nb_epochs": "max_epochs",
    "min_nb_epochs": "min_epochs",
    "nb_sanity_val_steps": "num_sanity_val_steps",
    "train_percent_check": "limit_train_batches",
    "val_percent_check": "limit_val_batches",
    "test_percent_check": "limit_test_batches",
    "overfit_pct": "overfit_batches",
    "distributed_backend": "accelerator",
    "reload_dataloaders_every_epoch": "reload_dataloaders_every_n_epochs",
    "early_stop_callback": "callbacks",
}

# Another documented name of the same flag, of equal standing.
ALIASES: dict[str, str] = {
    "enable_checkpointing": "checkpoint_callback",
    "enable_progress_bar": "progress_bar_refresh_rate",
    "enable_model_summary": "weights_summary",
    "detect_anomaly": "terminate_on_nan",
    "strategy": "accelerator",
}

# What a fast_dev_run sets, so that its one short epoch has every stage.
EVERY_STAGE: dict[str, Any] = {
    "max_epochs": 1, "max_steps": None, "check_val_every_n_epoch": 1, "val_check_interval": 1.0,
}  # fmt: skip

# Documented, not built yet: name -> its default, the only value that is taken.
LATER: dict[str, Any] = {
    "amp_backend": "native",
    "amp_level": "O2",
    "auto_lr_find": False,
    "auto_scale_batch_size": False,
    "auto_select_gpus": False,
    "cluster_environment": None,
    "enable_pl_optimizer": None,
    "log_gpu_memory": None,
    "plugins": None,
    "profiler": None,
    "sync_batchnorm": False,
    "tpu_cores": None,
}


def parse(given: Mapping[str, Any]) -> Flags:
    """Validate what was given to the Trainer.

    Raises:
        ConfigurationError: an unknown flag (with the nearest right name), an impossible value, or two that contradict
            each other, both named.
    """
    flags = Flags(**_present_names(given))
    check(flags)
    return replace(flags, **EVERY_STAGE) if flags.fast_dev_run else flags


def signature() -> inspect.Signature:
    """The Trainer's signature, from the table."""
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Signature([inspect.Parameter(name, kind, default=DEFAULTS[name]) for name in NAMES])


def _present_names(given: Mapping[str, Any]) -> dict[str, Any]:
    present: dict[str, Any] = {}
    said_as: dict[str, str] = {}
    for name, value in given.items():
        if name in LATER:
            if value is not None and value != LATER[name] and value is not False:
                raise ConfigurationError(
                    f"Trainer({name}={value!r}): this flag is documented but not available in this version; leave it "
                    "out."
                )
            continue
        now = RENAMED.get(name) or ALIASES.get(name) or name
        if now not in DEFAULTS:
            raise ConfigurationError(
                f"Trainer({name}={value!r}): unknown flag.{nearest(name, (*NAMES, *ALIASES, *LATER))}"
            )
        if name in RENAMED:
            warnings.warn(f"Trainer({name}=...) is the older name of {now!r}: use {now}.", FutureWarning, stacklevel=4)
        value = _translate(name, value)
        if name == "early_stop_callback":
            present["callbacks"] = [*_as_list(present.get("callbacks", given.get("callbacks"))), *_as_list(value)]
            continue
        if name == "callbacks" and "callbacks" in present:
            continue
        if now in said_as:
            raise ConfigurationError(
                f"Trainer({said_as[now]}=..., {name}=...): two names of one flag; give one of them."
            )
        if value is not None or now not in ("progress_bar_refresh_rate",):
            present[now], said_as[now] = value, name
    return present


def _as_list(value: Any) -> list[Any]:
    if value is None or value is False:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _translate(name: str, value: Any) -> Any:
    """An older or other flag's value in terms of the present one's."""
    if name == "reload_dataloaders_every_epoch":
        return int(value)
    if name == "enable_progress_bar":
        return 1 if value else 0
    if name == "enable_model_summary":
        return "top" if value else None
    return value


def limit(length: int | None, how_much: int | float, what: str) -> int | None:
    """How many batches of a loader of this length are used; None where the length is unknown and no int is given.

    Raises:
        ConfigurationError: a fraction of a loader without a length, or a fraction of it that is no batch at all.
    """
    if isinstance(how_much, int):
        return how_much if length is None else min(length, how_much)
    if how_much == 1.0 or how_much == 0.0:
        return length if how_much else 0
    if length is None:
        raise ConfigurationError(
            f"Trainer({what}={how_much!r}): the loader has no length, so give an int number of batches."
        )
    batches = int(length * how_much)
    if not batches and length:
        raise ConfigurationError(
            f"Trainer({what}={how_much!r}): of {length} batches this is none; give at least {1 / length:.3f}, or an "
            "int."
        )
    return batches
