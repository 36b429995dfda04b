"""The Trainer as scripts of older generations call it: older names of flags, arguments and attributes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar, Literal

from typing_extensions import override

from functrain.kernel.state import TrainState
from functrain.trainer.callback import Callback, EarlyStop
from functrain.trainer.ckpt_path import BEST_IF_ANY, CkptPath, Default
from functrain.trainer.flagged import as_given
from functrain.trainer.flags import OtherName, Path
from functrain.trainer.foreign import ActionProfiler, MetricsLogger
from functrain.trainer.loaders import either
from functrain.trainer.precisions import canonical
from functrain_torch import assembly
from functrain_torch.compat.environment import flags_of_environment

OLDER_FLAGS: dict[str, OtherName] = {
    "max_nb_epochs": OtherName("max_epochs"),
    "min_nb_epochs": OtherName("min_epochs"),
    "nb_sanity_val_steps": OtherName("num_sanity_val_steps"),
    "train_percent_check": OtherName("limit_train_batches"),
    "val_percent_check": OtherName("limit_val_batches"),
    "test_percent_check": OtherName("limit_test_batches"),
    "overfit_pct": OtherName("overfit_batches"),
    "distributed_backend": OtherName("accelerator"),
    "reload_dataloaders_every_epoch": OtherName("reload_dataloaders_every_n_epochs", int),
    "early_stop_callback": OtherName("callbacks", joins=True),
}


class Trainer(assembly.Trainer):
    """functrain's Trainer, which also takes the older names of flags; each says in a warning what replaced it."""

    older_names: ClassVar[Mapping[str, OtherName]] = OLDER_FLAGS

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
        gradient_clip_algorithm: str | None = "norm",
        track_grad_norm: float | str = -1,
        accumulate_grad_batches: int | Mapping[int, int] = 1,
        max_epochs: int | None = None,
        min_epochs: int | None = None,
        max_steps: int | None = None,
        min_steps: int | None = None,
        max_time: str | timedelta | Mapping[str, float] | None = None,
        limit_train_batches: int | float | None = 1.0,
        limit_val_batches: int | float | None = 1.0,
        limit_test_batches: int | float | None = 1.0,
        limit_predict_batches: int | float | None = 1.0,
        overfit_batches: int | float = 0.0,
        fast_dev_run: bool | int = False,
        check_val_every_n_epoch: int | None = 1,
        val_check_interval: int | float | None = 1.0,
        num_sanity_val_steps: int | None = 2,
        log_every_n_steps: int | None = 50,
        flush_logs_every_n_steps: int = 100,
        precision: int | str = 32,
        deterministic: bool | str | None = False,
        benchmark: bool | None = False,
        accelerator: str | None = None,
        strategy: str | None = None,
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
        inference_mode: bool | None = True,
        profiler: str | ActionProfiler | None = None,
        auto_lr_find: bool | str | None = False,
        auto_scale_batch_size: bool | str | None = False,
        stochastic_weight_avg: bool | None = False,
        multiple_trainloader_mode: str = "max_size_cycle",
        enable_checkpointing: bool | None = None,
        enable_progress_bar: bool | None = None,
        enable_model_summary: bool | None = None,
        detect_anomaly: bool | None = None,
        use_distributed_sampler: bool | None = None,
        amp_backend: Literal["native"] = "native",
        amp_level: Literal["O2"] | None = "O2",
        auto_select_gpus: Literal[False] = False,
        cluster_environment: None = None,
        enable_pl_optimizer: Literal[False] | None = None,
        log_gpu_memory: None = None,
        plugins: None = None,
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

    @classmethod
    @override
    def unsaid(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        return flags_of_environment(given, cls.older_names)

    # the loaders by the names of each generation; the docs are those of `functrain.Trainer`

    @override
    def fit(
        self, model: Any = None, train_dataloaders: Any = None, val_dataloaders: Any = None, datamodule: Any = None,
        ckpt_path: CkptPath = None, *, state: TrainState | None = None, train_dataloader: Any = None,
        val_dataloader: Any = None,
    ) -> None:  # fmt: skip
        train = either("train_dataloaders", train_dataloaders, "train_dataloader", train_dataloader)
        val = either("val_dataloaders", val_dataloaders, "val_dataloader", val_dataloader)
        super().fit(model, train, val, datamodule, ckpt_path, state=state)

    @override
    def validate(
        self, model: Any = None, dataloaders: Any = None, ckpt_path: CkptPath = None, datamodule: Any = None,
        verbose: bool = True, *, val_dataloaders: Any = None,
    ) -> list[dict[str, float]]:  # fmt: skip
        loaders = either("dataloaders", dataloaders, "val_dataloaders", val_dataloaders)
        return super().validate(model, loaders, ckpt_path, datamodule, verbose)

    @override
    def test(
        self, model: Any = None, dataloaders: Any = None, ckpt_path: CkptPath | Default = BEST_IF_ANY,
        datamodule: Any = None, verbose: bool = True, *, test_dataloaders: Any = None, test_dataloader: Any = None,
    ) -> list[dict[str, float]]:  # fmt: skip
        loaders = either("dataloaders", dataloaders, "test_dataloaders", test_dataloaders)
        loaders = either("dataloaders", loaders, "test_dataloader", test_dataloader)
        return super().test(model, loaders, ckpt_path, datamodule, verbose)

    # attributes

    @property
    def lr_schedulers(self) -> list[dict[str, Any]]:
        """The schedulers of the fit as dicts; see `lr_scheduler_configs`."""
        return [
            {
                "scheduler": config.scheduler,
                "name": config.name,
                "interval": config.interval,
                "frequency": config.frequency,
                "reduce_on_plateau": config.reduce_on_plateau,
                "monitor": config.monitor,
                "strict": config.strict,
                "opt_idx": config.player,
            }
            for config in self.lr_scheduler_configs
        ]

    @property
    def progress_bar_dict(self) -> dict[str, Any]:
        """What the bar shows; see `progress_bar_metrics`."""
        return self.progress_bar_metrics

    @property
    def early_stopping_callbacks(self) -> list[EarlyStop]:
        """All callbacks that watch for an early stop."""
        return [callback for callback in self.callbacks if isinstance(callback, EarlyStop)]

    @property
    def root_gpu(self) -> int | None:
        """The number of the GPU; None on the CPU."""
        return 0 if self.num_gpus else None

    @property
    def num_gpus(self) -> int:
        """How many GPUs the run uses."""
        module = self.module
        return int(module is not None and getattr(getattr(module, "device", None), "type", "cpu") == "cuda")

    @property
    def data_parallel(self) -> bool:
        """Does it run in several processes?"""
        return self.world_size > 1

    @property
    def use_amp(self) -> bool:
        """Does the step compute in 16 bits?"""
        return canonical(self.flags.precision) in ("16", "bf16")

    @property
    def slurm_job_id(self) -> int | None:
        """The job of SLURM that this process is a part of; None outside of one."""
        found = os.environ.get("SLURM_JOB_ID", "")
        return int(found) if found.isdecimal() else None

    @property
    def distributed_sampler_kwargs(self) -> dict[str, int]:
        """What a DistributedSampler of this run is made with."""
        return {"num_replicas": self.world_size, "rank": self.global_rank}
