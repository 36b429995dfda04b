"""Every documented flag of the Trainer: name, type, default, in a frozen value; and its other names. Imports no
framework."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, NamedTuple

from functrain.trainer.callback import Callback
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.foreign import ActionProfiler, MetricsLogger

Path = str | os.PathLike[str]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The flags that a Trainer also has as attributes of the same names, as they were given."""

    weights_save_path: Path | None = None
    gradient_clip_val: float | None = 0.0
    gradient_clip_algorithm: str = "norm"
    track_grad_norm: float | str = -1
    accumulate_grad_batches: int | Mapping[int, int] = 1
    min_epochs: int | None = None
    max_steps: int | None = None
    min_steps: int | None = None
    max_time: str | timedelta | Mapping[str, float] | None = None
    limit_train_batches: int | float = 1.0
    limit_val_batches: int | float = 1.0
    limit_test_batches: int | float = 1.0
    limit_predict_batches: int | float = 1.0
    overfit_batches: int | float = 0.0
    fast_dev_run: bool | int = False
    check_val_every_n_epoch: int | None = 1
    val_check_interval: int | float = 1.0
    num_sanity_val_steps: int = 2
    log_every_n_steps: int = 50
    flush_logs_every_n_steps: int = 100
    precision: int | str = 32
    deterministic: bool | str | None = False
    benchmark: bool | None = False
    accelerator: str | None = None
    strategy: str | None = None
    devices: int | str | Sequence[int] | None = None
    gpus: int | str | Sequence[int] | None = None
    num_nodes: int = 1
    num_processes: int = 1
    resume_from_checkpoint: Path | None = None
    reload_dataloaders_every_n_epochs: int = 0
    progress_bar_refresh_rate: int = 1
    process_position: int = 0
    weights_summary: str | None = "top"
    terminate_on_nan: bool | None = False
    truncated_bptt_steps: int | None = None
    automatic_optimization: bool | None = None
    prepare_data_per_node: bool | None = True
    move_metrics_to_cpu: bool | None = False
    replace_sampler_ddp: bool | None = True
    inference_mode: bool | None = True
    auto_lr_find: bool | str | None = False
    auto_scale_batch_size: bool | str | None = False
    stochastic_weight_avg: bool | None = False
    multiple_trainloader_mode: str = "max_size_cycle"


@dataclass(frozen=True, kw_only=True)
class Flags(Settings):
    """The flags of one Trainer, by their present names; what each does stands in `flagged.Flagged`."""

    logger: bool | MetricsLogger | Iterable[MetricsLogger] | None = True
    checkpoint_callback: bool | Callback | None = True
    callbacks: Callback | Sequence[Callback] | None = None
    default_root_dir: Path | None = None
    max_epochs: int | None = None
    profiler: str | ActionProfiler | None = None

    @property
    def root_directory(self) -> str:
        """Where runs leave what has no place of its own: `default_root_dir`, else the current directory."""
        return os.fspath(self.default_root_dir or os.getcwd())


SETTINGS: tuple[str, ...] = tuple(f.name for f in fields(Settings))
NAMES: tuple[str, ...] = (*(f.name for f in fields(Flags) if f.name not in SETTINGS), *SETTINGS)
DEFAULTS: dict[str, Any] = {f.name: f.default for f in fields(Flags)}


def as_given(value: Any) -> Any:
    """Return the value."""
    return value


class OtherName(NamedTuple):
    """Another name of a flag.

    Attributes:
        flag: the flag's own name.
        value: makes of what was given under the other name what the flag is given.
        joins: the value comes to what the flag has by its own name: one callback more.
    """

    flag: str
    value: Callable[[Any], Any] = as_given
    joins: bool = False


def _every_batch_or_none(shown: Any) -> int:
    return 1 if shown else 0


def _top_or_none(shown: Any) -> str | None:
    return "top" if shown else None


# Documented names of the same flags, of equal standing.
ALIASES: dict[str, OtherName] = {
    "enable_checkpointing": OtherName("checkpoint_callback"),
    "enable_progress_bar": OtherName("progress_bar_refresh_rate", _every_batch_or_none),
    "enable_model_summary": OtherName("weights_summary", _top_or_none),
    "detect_anomaly": OtherName("terminate_on_nan"),
    "use_distributed_sampler": OtherName("replace_sampler_ddp"),
}

# Flags of which None says no more than that they are left out.
NONE_IS_DEFAULT: tuple[str, ...] = (
    "limit_train_batches", "limit_val_batches", "limit_test_batches", "limit_predict_batches", "num_sanity_val_steps",
    "log_every_n_steps", "gradient_clip_algorithm", "val_check_interval",
)  # fmt: skip

# What a fast_dev_run sets, so that its one short epoch has every stage.
EVERY_STAGE: dict[str, Any] = {
    "max_epochs": 1, "max_steps": None, "check_val_every_n_epoch": 1, "val_check_interval": 1.0,
}  # fmt: skip

# Documented, not built yet: name -> its default, the only value that is taken.
LATER: dict[str, Any] = {
    "amp_backend": "native",
    "amp_level": "O2",
    "auto_select_gpus": False,
    "cluster_environment": None,
    "enable_pl_optimizer": None,
    "log_gpu_memory": None,
    "plugins": None,
    "sync_batchnorm": False,
    "tpu_cores": None,
}


def limit(length: int | None, how_much: int | float, what: str) -> int | None:
    """Return how many batches of a loader of this length are used; None where the length is unknown and no int is
    given.

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
