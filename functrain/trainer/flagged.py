"""The flags as keyword arguments of a Trainer: typed and documented for whoever writes the call.

A test holds them against `flags.Flags`, and those of functrain_torch's Trainer against them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from functrain.trainer import flags as table
from functrain.trainer.callback import Callback
from functrain.trainer.errors import nearest
from functrain.trainer.flags import Flags, OtherName, Path, Settings
from functrain.trainer.foreign import ActionProfiler, MetricsLogger
from functrain.trainer.parsing import named_as_given, parse

Init = TypeVar("Init", bound=Callable[..., None])


def as_given(init: Init) -> Init:
    """Call `init` when `self.flags` holds what was given, checked: it reads no argument of its own."""

    @wraps(init)
    def parsing(self: Flagged, **given: Any) -> None:
        given = {**self.unsaid(given), **given}
        with named_as_given(given, self.older_names):
            self.flags = parse(given, self.older_names)
            init(self)

    return parsing  # type: ignore[return-value]


if TYPE_CHECKING:
    _Told = Settings
else:

    class _Told:
        def __getattr__(self, name: str) -> Any:
            if name in table.SETTINGS:
                return getattr(self.__dict__["flags"], name)
            if name in table.LATER:
                return table.LATER[name]
            known = [*dir(type(self)), *table.NAMES]
            raise AttributeError(f"Trainer has no attribute {name!r}.{nearest(name, known)}")

        def __setattr__(self, name: str, value: Any) -> None:
            if name in table.SETTINGS:
                raise AttributeError(
                    f"trainer.{name} = {value!r}: the flags of a Trainer are settled when it is made; give "
                    f"Trainer({name}={value!r})."
                )
            super().__setattr__(name, value)


class Flagged(_Told):
    """Takes the flags, and has those of `Settings` as attributes, which a type checker sees too.

    Attributes:
        flags: all of them, checked.
        older_names: names of flags that this Trainer takes too, each with a warning.
    """

    flags: Flags
    older_names: ClassVar[Mapping[str, OtherName]] = {}

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
    ) -> None:
        """Check the flags and connect what they ask for.

        Args:
            logger: a logger, a list of them, True for TensorBoard, False for none.
            checkpoint_callback: save checkpoints: True for a default ModelCheckpoint, False for none.
            callbacks: a callback or a list of them.
            default_root_dir: where logs and checkpoints go; default: the current directory.
            weights_save_path: where checkpoints go, if elsewhere than default_root_dir.
            gradient_clip_val: bound on the gradient; 0 or None leaves it.
            gradient_clip_algorithm: 'norm' of the whole gradient, or 'value' of each component.
            track_grad_norm: log this p-norm of the gradients; -1 for none.
            accumulate_grad_batches: batches an update: an int, or {from_epoch: int}.
            max_epochs: stop after so many epochs; default 1000 where no other limit is set; -1 for none.
            min_epochs: train for at least so many epochs; default 1.
            max_steps: stop after so many updates, and after a whole batch; None or -1 for no limit.
            min_steps: train for at least so many updates.
            max_time: stop after this time: 'DD:HH:MM:SS', a timedelta, or a dict of its arguments.
            limit_train_batches: how much of the training data an epoch sees: int batches or a fraction.
            limit_val_batches: how much of each validation loader is used.
            limit_test_batches: how much of each test loader is used.
            limit_predict_batches: how much of each predict loader is used.
            overfit_batches: train, validate and test on these same training batches, unshuffled.
            fast_dev_run: run n batches of every stage for one epoch, writing nothing; other limits and intervals do
                not count.
            check_val_every_n_epoch: validate in every n-th epoch; None: an int val_check_interval counts on from epoch
                to epoch.
            val_check_interval: validate within an epoch: every n batches, or at this fraction of it.
            num_sanity_val_steps: validation batches to try before training; -1 for all.
            log_every_n_steps: write step metrics every n updates.
            flush_logs_every_n_steps: flush the loggers to disk every n updates.
            precision: 64, 32, 16 (or '16-mixed'), 'bf16' (or 'bf16-mixed'); torch: 'bf16-true' and '16-true' hold the
                weights so too.
            deterministic: only deterministic algorithms; 'warn' warns of others.
            benchmark: let cuDNN look for the fastest algorithms.
            accelerator: 'cpu', 'gpu', 'auto' or None.
            strategy: 'auto' or None: one device for now.
            devices: how many devices; one for now.
            gpus: None or 0 for the CPU; 1 for one GPU.
            num_nodes: how many machines; one for now.
            num_processes: how many processes; one for now.
            resume_from_checkpoint: continue from this checkpoint; the same as fit(ckpt_path=...).
            reload_dataloaders_every_n_epochs: ask for the loaders again every n epochs.
            progress_bar_refresh_rate: refresh the bar at most every n batches; 0 for no bar.
            process_position: the bar's line, where several trainers run side by side.
            weights_summary: print a summary of the module: 'top', 'full' or None.
            terminate_on_nan: stop with an error where the loss or a parameter is not finite.
            truncated_bptt_steps: cut batches along time into pieces of so many steps.
            automatic_optimization: False hands the optimizers to training_step.
            prepare_data_per_node: prepare_data once a node instead of once altogether.
            move_metrics_to_cpu: keep epoch metrics on the CPU.
            replace_sampler_ddp: put in distributed samplers by itself.
            inference_mode: evaluation computes no gradients; torch.enable_grad() in a step does either way.
            profiler: measure the parts of each run and tell them at its end: 'simple', 'advanced', 'pytorch' (torch),
                'jax' or 'xla' (JAX), or a profiler.
            auto_lr_find: trainer.tune() finds a learning rate, and sets the module's: True for `lr` or
                `learning_rate`, or the attribute's name.
            auto_scale_batch_size: trainer.tune() finds the largest batch size that fits into memory: True or 'power',
                or 'binsearch'.
            stochastic_weight_avg: end with the mean of the last epochs' weights; torch modules only.
            multiple_trainloader_mode: how several training loaders come together: 'max_size_cycle', 'min_size',
                'max_size' or 'sequential', as in a CombinedLoader.
            enable_checkpointing: save checkpoints; another name of checkpoint_callback.
            enable_progress_bar: False for progress_bar_refresh_rate=0.
            enable_model_summary: False for weights_summary=None.
            detect_anomaly: another name of terminate_on_nan.
            use_distributed_sampler: another name of replace_sampler_ddp.
            amp_backend, amp_level, auto_select_gpus, cluster_environment, enable_pl_optimizer,
                log_gpu_memory, plugins, sync_batchnorm, tpu_cores: documented, and not
                available yet; they take their defaults only.

        Raises:
            ConfigurationError: an unknown flag, an impossible value, or two that contradict each other; says which.
        """
        self._connect()

    @classmethod
    def unsaid(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return further flags, which nobody gave by any of their names."""
        return {}

    def _connect(self) -> None:
        """The flags are known."""
        raise NotImplementedError


def help_of_flags() -> dict[str, str]:
    """Return what each flag does, as the Trainer's docstring says it; empty under `python -OO`, which has no
    docstrings."""
    doc = inspect.cleandoc(Flagged.__init__.__doc__ or "")
    args = doc.partition("Args:\n")[2].partition("\n\n")[0]
    entries = re.findall(r"^    (\w+): ((?:.|\n        )+)", args, flags=re.MULTILINE)
    return {name: " ".join(text.split()).removesuffix(".") for name, text in entries}
