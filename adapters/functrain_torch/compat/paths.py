"""Which names scripts import from which older paths of modules, and where each of them is.

`python -m functrain_torch.compat` writes a file for each path; a test holds the files against this table.
"""

from __future__ import annotations

Names = dict[str, str]
"""What a path holds: the name there, and its place as 'module:name'."""


def at(module: str, *names: str) -> Names:
    """Return names that are called the same in their module."""
    return {name: f"{module}:{name}" for name in names}


_EXCEPTIONS = at(
    "functrain_torch.compat.exceptions",
    "DeadlockDetectedException",
    "ExitGracefullyException",
    "MisconfigurationException",
)
_RANK_ZERO = {
    **at("functrain.trainer.world", "rank_zero_only"),
    **at(
        "functrain_torch.compat.deprecation",
        "LightningDeprecationWarning",
        "rank_zero_debug",
        "rank_zero_deprecation",
        "rank_zero_info",
        "rank_zero_warn",
    ),
}
_APPLY = at(
    "functrain_torch.compat.apply_func",
    "TransferableDataType",
    "apply_to_collection",
    "apply_to_collections",
    "convert_to_tensors",
    "from_numpy",
    "move_data_to_device",
    "to_dtype_tensor",
)
_ENUMS = at(
    "functrain_torch.compat.enums",
    "AMPType",
    "DeviceType",
    "DistributedType",
    "GradClipAlgorithmType",
    "LightningEnum",
    "ModelSummaryMode",
    "PrecisionType",
)
_HOOKS = {
    "ModelHooks": "functrain.trainer.module_hooks:ModuleHooks",
    "DataHooks": "functrain.trainer.module_hooks:DataHooks",
    "CheckpointHooks": "functrain.trainer.module_hooks:DataHooks",
}
_MODULE = at("functrain_torch.module", "LightningModule")
_DATA_MODULE = at("functrain_torch.datamodule", "LightningDataModule")
_HPARAMS = at("functrain.trainer.hparams", "HyperparametersMixin")
_STATES = at("functrain.trainer.states", "RunningStage", "TrainerFn", "TrainerState", "TrainerStatus")
_TRAINER = at("functrain_torch.compat.trainer", "Trainer")
_SEED = at("functrain.seed", "isolate_rng", "seed_everything")
_BARS = at("functrain.callbacks", "ProgressBar", "ProgressBarBase", "RichProgressBar", "TQDMProgressBar")
_SUMMARY = at("functrain_torch.compat.model_summary", "ModelSummary", "summarize")
_GRADS = at("functrain_torch.compat.grads", "grad_norm")
_TYPES = "functrain_torch.compat.types"
_BORING = at(
    "functrain_torch.compat.boring",
    "BoringDataModule",
    "BoringModel",
    "DemoModel",
    "ManualOptimBoringModel",
    "RandomDataset",
    "RandomDictDataset",
    "RandomIterableDataset",
)
_DEVICES = "functrain_torch.compat.devices"
_STRATEGIES = at(
    _DEVICES,
    "DDPStrategy",
    "DeepSpeedStrategy",
    "FSDPStrategy",
    "ParallelStrategy",
    "SingleDeviceStrategy",
    "Strategy",
)
_PLUGINS = at(_DEVICES, "DDPPlugin", "DeepSpeedPlugin")
_PROFILERS = at(
    "functrain_torch.profilers",
    "AdvancedProfiler",
    "PassThroughProfiler",
    "Profiler",
    "PyTorchProfiler",
    "SimpleProfiler",
)

PATHS: dict[str, Names] = {
    "core": {**_MODULE, **_DATA_MODULE},
    "core.datamodule": _DATA_MODULE,
    "core.decorators": at("functrain_torch.compat.model_helpers", "auto_move_data"),
    "core.hooks": _HOOKS,
    "core.lightning": _MODULE,
    "core.memory": _SUMMARY,
    "core.mixins": _HPARAMS,
    "core.mixins.hparams_mixin": _HPARAMS,
    "core.module": _MODULE,
    "core.optimizer": {"LightningOptimizer": "functrain_torch.manual:HandledOptimizer"},
    "core.saving": {
        "load_hparams_from_yaml": "functrain.trainer.plain:load_hparams_yaml",
        "load_hparams_from_tags_csv": "functrain.trainer.plain:load_tags_csv",
        "save_hparams_to_yaml": "functrain.trainer.plain:save_hparams_yaml",
    },
    "demos": _BORING,
    "demos.boring_classes": _BORING,
    "metrics.classification": at("functrain_torch.metrics", "Accuracy", "ConfusionMatrix", "F1", "Precision", "Recall"),
    "metrics.metric": at("functrain_torch.metrics", "Metric"),
    "plugins": _PLUGINS,
    "plugins.environments": at(
        _DEVICES, "ClusterEnvironment", "LightningEnvironment", "SLURMEnvironment", "TorchElasticEnvironment"
    ),
    "plugins.training_type": _PLUGINS,
    "strategies": _STRATEGIES,
    "strategies.ddp": at(_DEVICES, "DDPStrategy"),
    "trainer": {**_TRAINER, **at("functrain.seed", "seed_everything")},
    "trainer.states": _STATES,
    "trainer.supporters": at("functrain.trainer.combined", "CombinedLoader"),
    "trainer.trainer": _TRAINER,
    "tuner.lr_finder": {"_LRFinder": "functrain.tuner:LRFinder"},
    "tuner.tuning": at("functrain.tuner", "Tuner"),
    "utilities": {
        **_RANK_ZERO,
        **_APPLY,
        **_ENUMS,
        **_GRADS,
        **at("functrain_torch.compat.parsing", "AttributeDict"),
    },
    "utilities.apply_func": _APPLY,
    "utilities.cli": at("functrain_torch.cli", "LightningArgumentParser", "LightningCLI", "SaveConfigCallback"),
    "utilities.cloud_io": at("functrain_torch.compat.cloud_io", "atomic_save", "get_filesystem", "load"),
    "utilities.combined_loader": at("functrain.trainer.combined", "CombinedLoader"),
    "utilities.distributed": _RANK_ZERO,
    "utilities.enums": _ENUMS,
    "utilities.exceptions": _EXCEPTIONS,
    "utilities.finite_checks": at("functrain_torch.compat.memory", "detect_nan_parameters", "print_nan_gradients"),
    "utilities.grads": _GRADS,
    "utilities.memory": at(
        "functrain_torch.compat.memory",
        "garbage_collection_cuda",
        "get_model_size_mb",
        "is_cuda_out_of_memory",
        "is_cudnn_snafu",
        "is_oom_error",
        "is_out_of_cpu_memory",
        "recursive_detach",
    ),
    "utilities.model_helpers": at("functrain_torch.compat.model_helpers", "is_overridden"),
    "utilities.model_summary": _SUMMARY,
    "utilities.parsing": at(
        "functrain_torch.compat.parsing",
        "AttributeDict",
        "clean_namespace",
        "flatten_dict",
        "get_init_args",
        "is_picklable",
        "lightning_getattr",
        "lightning_hasattr",
        "lightning_setattr",
        "save_hyperparameters",
        "str_to_bool",
        "str_to_bool_or_int",
        "str_to_bool_or_str",
    ),
    "utilities.rank_zero": _RANK_ZERO,
    "utilities.seed": _SEED,
    "utilities.types": {
        **at(
            _TYPES,
            "EPOCH_OUTPUT",
            "EVAL_DATALOADERS",
            "LRSchedulerConfigType",
            "LRSchedulerPLType",
            "LRSchedulerType",
            "LRSchedulerTypeTuple",
            "LRSchedulerTypeUnion",
            "OptimizerConfig",
            "OptimizerLRScheduler",
            "OptimizerLRSchedulerConfig",
            "STEP_OUTPUT",
            "TRAIN_DATALOADERS",
        ),
        "_EVALUATE_OUTPUT": f"{_TYPES}:EVALUATE_OUTPUT",
        "_MAP_LOCATION_TYPE": f"{_TYPES}:MAP_LOCATION",
        "_METRIC": f"{_TYPES}:METRIC",
        "_NUMBER": f"{_TYPES}:NUMBER",
        "_PATH": f"{_TYPES}:PATH",
        "_PREDICT_OUTPUT": f"{_TYPES}:PREDICT_OUTPUT",
    },
    "utilities.warnings": {
        **_RANK_ZERO,
        **at("functrain_torch.compat.deprecation", "PossibleUserWarning", "WarningCache"),
    },
    "callbacks.base": at("functrain.callbacks", "Callback"),
    "callbacks.callback": at("functrain.callbacks", "Callback"),
    "callbacks.checkpoint": at("functrain.callbacks", "Checkpoint"),
    "callbacks.device_stats_monitor": at(
        "functrain.callbacks.device_stats_monitor", "DeviceStatsMonitor", "prefix_metric_keys"
    ),
    "callbacks.early_stopping": at("functrain.callbacks", "EarlyStopping"),
    "callbacks.gradient_accumulation_scheduler": at("functrain.callbacks", "GradientAccumulationScheduler"),
    "callbacks.lambda_function": at("functrain.callbacks", "LambdaCallback"),
    "callbacks.lr_logger": at("functrain_torch.compat.callbacks", "LearningRateLogger"),
    "callbacks.lr_monitor": at("functrain.callbacks", "LearningRateMonitor"),
    "callbacks.model_checkpoint": at("functrain.callbacks", "ModelCheckpoint"),
    "callbacks.model_summary": at("functrain.callbacks", "ModelSummary"),
    "callbacks.prediction_writer": at("functrain.callbacks.prediction_writer", "BasePredictionWriter", "WriteInterval"),
    "callbacks.progress": _BARS,
    "callbacks.progress.base": at("functrain.callbacks", "ProgressBarBase"),
    "callbacks.progress.progress": at("functrain.callbacks", "ProgressBar"),
    "callbacks.progress.progress_bar": at("functrain.callbacks", "ProgressBar"),
    "callbacks.progress.rich_progress": at("functrain.callbacks", "RichProgressBar"),
    "callbacks.progress.tqdm_progress": at("functrain.callbacks", "TQDMProgressBar"),
    "callbacks.rich_model_summary": at("functrain.callbacks", "RichModelSummary"),
    "callbacks.swa": at("functrain_torch.callbacks", "StochasticWeightAveraging"),
    "callbacks.timer": at("functrain.callbacks.timer", "Interval", "Timer"),
    "loggers.base": {
        "LightningLoggerBase": "functrain_torch.compat.loggers:LightningLoggerBase",
        **at("functrain.loggers", "DummyLogger", "LoggerCollection", "rank_zero_experiment"),
    },
    "loggers.comet": at("functrain.loggers", "CometLogger"),
    "loggers.csv_logs": at("functrain.loggers", "CSVLogger"),
    "loggers.logger": at("functrain.loggers", "DummyLogger", "Logger", "LoggerCollection", "rank_zero_experiment"),
    "loggers.mlflow": at("functrain.loggers", "MLFlowLogger"),
    "loggers.neptune": at("functrain.loggers", "NeptuneLogger"),
    "loggers.tensorboard": at("functrain.loggers", "TensorBoardLogger"),
    "loggers.test_tube": at("functrain.loggers", "TestTubeLogger"),
    "loggers.wandb": at("functrain.loggers", "WandbLogger"),
    "profiler": {
        "AbstractProfiler": "functrain_torch.profilers:Profiler",
        "BaseProfiler": "functrain_torch.profilers:Profiler",
        **_PROFILERS,
    },
    "profiler.advanced": at("functrain_torch.profilers", "AdvancedProfiler"),
    "profiler.base": {
        "AbstractProfiler": "functrain_torch.profilers:Profiler",
        "BaseProfiler": "functrain_torch.profilers:Profiler",
        **at("functrain_torch.profilers", "PassThroughProfiler"),
    },
    "profiler.profiler": at("functrain_torch.profilers", "Profiler"),
    "profiler.pytorch": at("functrain_torch.profilers", "PyTorchProfiler"),
    "profiler.simple": at("functrain_torch.profilers", "SimpleProfiler"),
    "profilers.advanced": at("functrain_torch.profilers", "AdvancedProfiler"),
    "profilers.pytorch": at("functrain_torch.profilers", "PyTorchProfiler"),
    "profilers.simple": at("functrain_torch.profilers", "SimpleProfiler"),
}
"""By the path below functrain_torch."""

NEED_EXTRAS = ("metrics.classification", "metrics.metric", "utilities.cli")
"""What imports a package that may not be installed: these are not imported with the package that they are in."""
