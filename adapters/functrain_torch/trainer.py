"""The Trainer as scripts of older generations call it: the flags' older names stand here, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import ClassVar, Literal

from functrain import assembly
from functrain.trainer.callback import Callback
from functrain.trainer.flagged import as_given
from functrain.trainer.flags import Path
from functrain.trainer.foreign import MetricsLogger


class Trainer(assembly.Trainer):
    """functrain's Trainer, which also takes the older names of flags; each says in a warning what replaced it."""

    takes_older_names: ClassVar[bool] = True

    @as_given
    def __init__(
        self,
        *,
        logger: bool | MetricsLogger | Iterable[MetricsLogger] | None = True,
        checkpoint_callback: bool | Callback | None = True,
        callbacks: Callback | Sequence[Callback] | None = None,
        default_root_dir: Path | None = None,
        weights_save_path: Path | None = None,
        gradient_clip_val: float | None = 0.0,
        gradient_clip_algorithm: str = "norm",
        track_grad_norm: float | str = -1,
        accumulate_grad_batches: int | Mapping[int, int] = 1,
        max_epochs: int | None = None,
        min_epochs: int | None = None,
        max_steps: int | None = None,
        min_steps: int | None = None,
        max_time: str | timedelta | Mapping[str, float] | None = None,
        limit_train_batches: int | float = 1.0,
        limit_val_batches: int | float = 1.0,
        limit_test_batches: int | float = 1.0,
        limit_predict_batches: int | float = 1.0,
        overfit_batches: int | float = 0.0,
        fast_dev_run: bool | int = False,
        check_val_every_n_epoch: int | None = 1,
        val_check_interval: int | float = 1.0,
        num_sanity_val_steps: int = 2,
        log_every_n_steps: int = 50,
        flush_logs_every_n_steps: int = 100,
        precision: int | str = 32,
        deterministic: bool | None = False,
        benchmark: bool | None = False,
        accelerator: str | None = None,
        devices: int | str | Sequence[int] | None = None,
        gpus: int | str | Sequence[int] | None = None,
        num_nodes: int = 1,
        num_processes: int = 1,
        resume_from_checkpoint: Path | None = None,
        reload_dataloaders_every_n_epochs: int = 0,
        progress_bar_refresh_rate: int = 1,
        process_position: int = 0,
        weights_summary: str | None = "top",
        terminate_on_nan: bool | None = False,
        truncated_bptt_steps: int | None = None,
        automatic_optimization: bool | None = None,
        prepare_data_per_node: bool | None = True,
        move_metrics_to_cpu: bool | None = False,
        replace_sampler_ddp: bool | None = True,
        enable_checkpointing: bool | None = None,
        enable_progress_bar: bool | None = None,
        enable_model_summary: bool | None = None,
        detect_anomaly: bool | None = None,
        strategy: str | None = None,
        amp_backend: Literal["native"] = "native",
        amp_level: Literal["O2"] | None = "O2",
        auto_lr_find: Literal[False] = False,
        auto_scale_batch_size: Literal[False] = False,
        auto_select_gpus: Literal[False] = False,
        cluster_environment: None = None,
        enable_pl_optimizer: Literal[False] | None = None,
        log_gpu_memory: None = None,
        plugins: None = None,
        profiler: None = None,
        sync_batchnorm: Literal[False] = False,
        tpu_cores: None = None,
        # older names
        max_nb_epochs: int | None = None,
        min_nb_epochs: int | None = None,
        nb_sanity_val_steps: int | None = None,
        train_percent_check: float | None = None,
        val_percent_check: float | None = None,
        test_percent_check: float | None = None,
        overfit_pct: float | None = None,
        distributed_backend: str | None = None,
        reload_dataloaders_every_epoch: bool | None = None,
        early_stop_callback: bool | Callback | None = None,
    ) -> None:
        self._connect()
