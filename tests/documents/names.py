"""Every documented and public name, and the test that shows what it does.

A name is written as a user meets it: `Trainer(flag)`, `Trainer.member`, `LightningModule.member`, `Callback.hook`,
`callbacks.Class` and so on. A test is given by its file below tests/ and its name.
"""

from __future__ import annotations

from posixpath import normpath

ORDER = "golden/test_torch_order.py::test_as_in_the_golden_file"
"""Every hook of a run, with its arguments, where it is called."""

TOLD = "adapters/torch/test_trainer_state.py::test_every_hook_is_told_what_pytorch_lightning_tells"
NAMED = "adapters/torch/test_trainer_state.py::test_loaders_and_the_module_by_their_names"
OLDER = "adapters/torch/test_flags.py::test_an_older_name_works_and_says_what_replaced_it"
OTHER = "adapters/torch/test_flags.py::test_another_name_of_equal_standing"
TRANSFER = "adapters/torch/test_data.py::test_transfer_hooks"
OF_DATA = "adapters/torch/test_data.py::test_a_data_module_through_every_stage"
STATE_OF_DATA = "adapters/torch/test_data.py::test_hyperparameters_and_state_of_a_data_module"


def all_of(prefix: str, names: str, test: str) -> dict[str, str]:
    """Names that one test shows."""
    return {f"{prefix}{name}": test for name in names.split()}


def flags(names: dict[str, str]) -> dict[str, str]:
    """Flags of the Trainer."""
    return {f"Trainer({name})": test for name, test in names.items()}


def below(prefix: str, folder: str, names: dict[str, str]) -> dict[str, str]:
    """Members of a class or module, whose tests are in one folder; '../' leaves it."""
    return {f"{prefix}{name}": normpath(f"{folder}{test}") for name, test in names.items()}


FLAGS = {
    **flags({
        "logger": "callbacks/test_defaults.py::test_loggers",
        "checkpoint_callback": "callbacks/test_defaults.py::test_a_checkpoint_callback_as_the_flag",
        "callbacks": "documents/test_flags.py::test_callbacks",
        "default_root_dir": "documents/test_flags.py::test_default_root_dir",
        "max_epochs": "adapters/torch/test_flags.py::test_defaults_of_the_documents",
        "profiler": "documents/test_flags.py::test_profiler",
        "weights_save_path": "documents/test_flags.py::test_weights_save_path",
        "gradient_clip_val": "documents/test_flags.py::test_gradient_clip_val",
        "gradient_clip_algorithm": "adapters/torch/test_steps.py::test_clipping_of_ones_own",
        "track_grad_norm": "adapters/torch/test_steps.py::test_track_grad_norm",
        "accumulate_grad_batches": "documents/test_flags.py::test_accumulate_grad_batches",
        "min_epochs": "adapters/torch/test_limits.py::test_a_stop_waits_for_both_minima",
        "max_steps": "documents/test_flags.py::test_max_steps",
        "min_steps": "adapters/torch/test_limits.py::test_a_stop_waits_for_both_minima",
        "max_time": "adapters/torch/test_limits.py::test_max_time",
        "limit_train_batches": "adapters/torch/test_limits.py::test_limit_train_batches",
        "limit_val_batches": "adapters/torch/test_limits.py::test_limit_val_batches",
        "limit_test_batches": "documents/test_flags.py::test_limit_test_batches",
        "limit_predict_batches": "adapters/torch/test_evaluate.py::test_limits",
        "overfit_batches": "adapters/torch/test_limits.py::test_overfit_batches",
        "fast_dev_run": "documents/test_flags.py::test_fast_dev_run",
        "check_val_every_n_epoch": "adapters/torch/test_limits.py::test_check_val_every_n_epoch",
        "val_check_interval": "documents/test_flags.py::test_val_check_interval",
        "num_sanity_val_steps": "documents/test_flags.py::test_num_sanity_val_steps",
        "log_every_n_steps": "documents/test_flags.py::test_log_every_n_steps",
        "flush_logs_every_n_steps": "adapters/torch/test_intervals.py"
        "::test_loggers_are_flushed_where_the_interval_is_no_multiple_of_the_logs",
        "precision": "documents/test_flags.py::test_precision",
        "deterministic": "adapters/torch/test_precision.py::test_deterministic",
        "benchmark": "adapters/torch/test_precision.py::test_benchmark",
        "accelerator": "documents/test_devices.py::test_accelerators",
        "devices": "errors/test_flags.py::test_wrong_values",
        "gpus": "documents/test_devices.py::test_gpus",
        "num_nodes": "documents/test_devices.py::test_num_nodes",
        "num_processes": "documents/test_devices.py::test_num_processes",
        "resume_from_checkpoint": "documents/test_flags.py::test_resume_from_checkpoint",
        "reload_dataloaders_every_n_epochs": "adapters/torch/test_data.py::test_reloading",
        "progress_bar_refresh_rate": "documents/test_flags.py::test_progress_bar_refresh_rate",
        "process_position": "callbacks/test_progress.py::test_bars_side_by_side_take_lines_of_their_own",
        "weights_summary": "documents/test_flags.py::test_weights_summary",
        "terminate_on_nan": "adapters/torch/test_steps.py::test_terminate_on_nan",
        "truncated_bptt_steps": "documents/test_optimization.py::test_truncated_back_propagation_by_the_flag",
        "automatic_optimization": "adapters/torch/test_manual.py::test_by_the_trainers_flag",
        "prepare_data_per_node": "documents/test_flags.py::test_prepare_data_per_node",
        "replace_sampler_ddp": "documents/test_devices.py::test_a_distributed_sampler_of_ones_own",
        "move_metrics_to_cpu": "documents/test_told.py::test_metrics_may_be_kept_on_the_cpu",
        "auto_lr_find": "documents/test_flags.py::test_auto_lr_find",
        "auto_scale_batch_size": "documents/test_flags.py::test_auto_scale_batch_size",
        "stochastic_weight_avg": "callbacks/test_swa.py::test_the_flag",
        "reload_dataloaders_every_epoch": "documents/test_flags.py::test_reload_dataloaders_every_epoch",
        "early_stop_callback": "documents/test_callbacks.py::test_early_stopping",
    }),
    **{f"Trainer({name})": OTHER for name in (
        "enable_checkpointing", "enable_progress_bar", "enable_model_summary", "detect_anomaly",
        "use_distributed_sampler")},
    "Trainer(strategy)": "adapters/torch/test_flags.py::test_accelerator_strategy_and_devices_are_three_flags",
    "Trainer(inference_mode)": "adapters/torch/test_flags.py::test_evaluation_may_compute_gradients",
    "Trainer(multiple_trainloader_mode)": "adapters/torch/test_several_loaders.py::test_the_modes_of_a_combined_loader",
    "CombinedLoader": "core/test_combined.py::test_the_same_batches_as_theirs",
    **{f"Trainer({name})": OLDER for name in (
        "max_nb_epochs", "min_nb_epochs", "nb_sanity_val_steps", "train_percent_check", "val_percent_check",
        "test_percent_check", "overfit_pct", "distributed_backend")},
}  # fmt: skip

RESET = "adapters/torch/test_reset_loaders.py::"

TRAINER = {
    "Trainer.reset_train_dataloader": RESET + "test_the_training_loader_is_another_one_from_the_next_epoch_on",
    "Trainer.reset_val_dataloader": RESET + "test_the_validation_loader_is_another_one_at_once",
    **all_of("Trainer.", "reset_train_val_dataloaders", RESET + "test_what_the_trainer_tells_is_right"),
    **all_of("Trainer.", "reset_test_dataloader reset_predict_dataloader", RESET + "test_outside_of_a_fit_it_is_told"),
    "Trainer.unsaid": "compat/test_environment.py::test_a_variable_is_a_flag",
    **all_of("Trainer.", "training validating testing predicting sanity_checking evaluating num_training_batches "
             "num_val_batches num_sanity_val_batches num_test_batches num_predict_batches is_last_batch "
             "lr_scheduler_configs optimizers state stage", TOLD),
    **all_of("Trainer.", "lightning_module model module enable_validation num_devices device_ids world_size "
             "train_dataloader val_dataloaders test_dataloaders", NAMED),
    **all_of("Trainer.", "early_stopping_callbacks progress_bar_dict", "documents/test_told.py::test_older_attributes"),
    **all_of("Trainer.", "root_gpu num_gpus data_parallel distributed_sampler_kwargs slurm_job_id node_rank",
             "documents/test_told.py::test_devices_and_processes"),
    **below("Trainer.", "documents/", {
        "fit": "test_trainer.py::test_basic_use",
        "validate": "test_trainer.py::test_validate",
        "test": "test_trainer.py::test_test_takes_the_best_weights_of_the_run_before",
        "predict": "test_trainer.py::test_predict_takes_the_best_weights_of_the_run_before",
        "tune": "test_flags.py::test_auto_lr_find",
        "add_argparse_args": "test_trainer.py::test_the_command_line_knows_every_flag_with_its_type",
        "from_argparse_args": "test_trainer.py::test_the_command_line_knows_every_flag_with_its_type",
        "callback_metrics": "test_trainer.py::test_callback_metrics",
        "logged_metrics": "test_trainer.py::test_logged_metrics",
        "progress_bar_metrics": "test_trainer.py::test_progress_bar_metrics",
        "current_epoch": "test_trainer.py::test_current_epoch",
        "global_step": "test_module.py::test_global_and_local_rank",
        "global_rank": "test_module.py::test_global_and_local_rank",
        "local_rank": "test_module.py::test_global_and_local_rank",
        "is_global_zero": "test_trainer.py::test_is_global_zero",
        "logger": "test_trainer.py::test_logger",
        "log_dir": "test_trainer.py::test_log_dir",
        "datamodule": "test_told.py::test_a_data_module_is_found",
        "predict_dataloaders": "test_told.py::test_a_data_module_is_found",
        "lr_schedulers": "test_optimization.py::test_schedulers",
        "profiler": "test_flags.py::test_profiler",
        "progress_bar_callback": "test_flags.py::test_progress_bar_refresh_rate",
        "checkpoint_callback": "test_flags.py::test_checkpoint_callback_of_a_metric",
        "early_stopping_callback": "test_callbacks.py::test_early_stopping",
        "use_amp": "test_told.py::test_mixed_precision_is_told",
        "averaging": "test_told.py::test_the_callbacks_of_the_flags",
        "defaults": "test_told.py::test_the_callbacks_of_the_flags",
        "older_names": "test_flags.py::test_percents_to_check",
    }),
    "Trainer.default_root_dir": FLAGS["Trainer(default_root_dir)"],
    "Trainer.max_epochs": FLAGS["Trainer(max_epochs)"],
    "Trainer.save_checkpoint": "callbacks/test_saving_goes_on.py"
    "::test_save_checkpoint_returns_when_the_file_is_there",
    "Trainer.checkpoint_callbacks": "callbacks/test_defaults.py::test_a_checkpoint_callback_as_the_flag",
    "Trainer.ckpt_path": "adapters/torch/test_trainer_state.py::test_the_checkpoint_that_a_run_continues_from",
    "Trainer.estimated_stepping_batches": "adapters/torch/test_trainer_state.py"
    "::test_the_updates_of_a_fit_are_known_before_its_optimizers_are",
    "Trainer.interrupted": "adapters/torch/test_run.py::test_ctrl_c_in_a_step",
    "Trainer.print": "adapters/torch/test_run.py::test_print",
    "Trainer.received_sigterm": "adapters/torch/test_trainer_state.py::test_how_a_run_has_ended",
    "Trainer.should_stop": "adapters/torch/test_limits.py::test_a_stop_asked_for_in_the_step_is_met_at_the_next_batch",
    "Trainer.stacked": "stacked/test_stacked.py::test_the_modules_own_callbacks_are_not_in_a_short_fit",
    "Trainer.trying": "tuner/test_no_trace.py::test_module_trainer_and_generators_are_the_very_ones_of_before",
    "Trainer.tuner": "tuner/test_lr_find.py::test_the_tuner_of_newer_scripts_sets_it_by_itself",
}  # fmt: skip

MODULE = {
    "LightningModule.on_gpu": "compat/test_older_scripts.py::test_a_script_that_cuts_its_batches_along_time",
    "LightningModule.strict_loading": "lightning/test_load.py::test_strict_loading_of_the_module",
    "LightningModule.toggled_optimizer": "lightning/test_loops.py::test_same_bits",
    **all_of("LightningModule.", """
        on_after_backward on_batch_end on_batch_start on_before_backward on_before_optimizer_step on_before_zero_grad
        on_epoch_end on_epoch_start on_fit_end on_fit_start on_post_move_to_device on_predict_batch_end
        on_predict_batch_start on_predict_dataloader on_predict_end on_predict_epoch_end on_predict_epoch_start
        on_predict_model_eval on_predict_model_train on_predict_start on_pretrain_routine_end
        on_pretrain_routine_start on_test_batch_end on_test_batch_start on_test_dataloader on_test_end
        on_test_epoch_end on_test_epoch_start on_test_model_eval on_test_model_train on_test_start on_train_batch_end
        on_train_batch_start on_train_dataloader on_train_end on_train_epoch_end on_train_epoch_start on_train_start
        on_val_dataloader on_validation_batch_end on_validation_batch_start on_validation_end
        on_validation_epoch_end on_validation_epoch_start on_validation_model_eval on_validation_model_train
        on_validation_start configure_sharded_model predict_epoch_end test_epoch_end test_step_end
        optimizer_zero_grad prepare_data setup teardown
    """, ORDER),
    **all_of("LightningModule.", "on_before_batch_transfer transfer_batch_to_device on_after_batch_transfer", TRANSFER),
    **all_of("LightningModule.", "freeze unfreeze", "adapters/torch/test_load.py::test_freeze_and_unfreeze"),
    **all_of("LightningModule.", "on_save_checkpoint on_load_checkpoint",
             "adapters/torch/test_load.py::test_the_module_adds_to_a_checkpoint"),
    **all_of("LightningModule.", "model_size use_amp dtype", "adapters/torch/test_load.py::test_properties"),
    **all_of("LightningModule.", "toggle_optimizer untoggle_optimizer", "adapters/torch/test_manual.py"
             "::test_half_precision_with_several_optimizers_has_one_scale_in_a_batch"),
    **all_of("LightningModule.", "train_dataloader val_dataloader test_dataloader predict_dataloader",
             "documents/test_told.py::test_every_loader_of_the_module"),
    **below("LightningModule.", "documents/", {
        "training_step": "test_module.py::test_training_step_and_its_epoch_metric",
        "training_step_end": "test_module.py::test_training_step_end",
        "training_epoch_end": "test_module.py::test_training_epoch_end",
        "validation_step": "test_module.py::test_validation_step",
        "validation_step_end": "test_module.py::test_validation_step_end",
        "validation_epoch_end": "test_module.py::test_validation_epoch_end",
        "test_step": "test_trainer.py::test_test_after_fit",
        "predict_step": "test_module.py::test_predict_step_calls_forward",
        "forward": "test_module.py::test_forward_for_inference",
        "configure_optimizers": "test_optimization.py::test_several_optimizers",
        "optimizers": "test_optimization.py::test_two_optimizers_by_hand",
        "lr_schedulers": "../adapters/torch/test_manual.py::test_schedulers_are_stepped_by_hand",
        "manual_backward": "test_optimization.py::test_optimization_by_hand",
        "optimizer_step": "test_optimization.py::test_steps_at_intervals",
        "automatic_optimization": "test_optimization.py::test_optimization_by_hand",
        "truncated_bptt_steps": "test_optimization.py::test_truncated_back_propagation_by_the_module",
        "tbptt_split_batch": "test_optimization.py::test_tbptt_split_batch",
        "current_epoch": "test_module.py::test_current_epoch",
        "device": "test_module.py::test_device",
        "global_rank": "test_module.py::test_global_and_local_rank",
        "local_rank": "test_module.py::test_global_and_local_rank",
        "global_step": "test_module.py::test_global_step",
        "logger": "test_module.py::test_logger",
        "loggers": "test_module.py::test_loggers",
        "precision": "test_module.py::test_precision",
        "trainer": "test_module.py::test_trainer",
        "example_input_array": "test_module.py::test_example_input_array",
        "prepare_data_per_node": "test_devices.py::test_prepare_data_per_node",
        "hparams": "test_hyperparameters.py::test_hparams",
        "save_hyperparameters": "test_hyperparameters.py::test_named_hyperparameters",
        "load_from_checkpoint": "test_hyperparameters.py::test_load_from_checkpoint",
        "load_from_metrics": "test_trainer.py::test_load_from_metrics",
    }),
    **below("LightningModule.", "adapters/torch/", {
        "backward": "test_steps.py::test_backward_of_ones_own",
        "clip_gradients": "test_manual.py::test_clip_gradients",
        "configure_callbacks": "test_run.py::test_callbacks_of_the_modules_own",
        "configure_gradient_clipping": "test_steps.py::test_clipping_of_ones_own",
        "lr_scheduler_step": "test_lr_scheduler_step.py"
        "::test_ones_own_lr_scheduler_step_gets_the_metric_that_a_plateau_monitors",
        "log": "test_logging.py::test_a_validation_step_logs_over_the_epoch",
        "log_dict": "test_logging.py::test_log_dict",
        "print": "test_run.py::test_print",
        "to_onnx": "test_export.py::test_onnx_gives_the_same_numbers",
        "to_torchscript": "test_export.py::test_torchscript_gives_the_same_numbers",
    }),
    "LightningModule.hparams_initial": "core/test_hparams.py"
    "::test_initial_values_share_no_container_but_keep_modules_as_they_are",
}  # fmt: skip

DATA_MODULE = {
    "LightningDataModule.load_from_checkpoint": "lightning/test_load.py::test_a_data_module",
    **all_of("LightningDataModule.", "prepare_data setup teardown train_dataloader val_dataloader test_dataloader "
             "predict_dataloader", OF_DATA),
    **all_of("LightningDataModule.", "hparams hparams_initial save_hyperparameters state_dict load_state_dict",
             STATE_OF_DATA),
    **all_of("LightningDataModule.", "on_before_batch_transfer transfer_batch_to_device on_after_batch_transfer "
             "trainer on_save_checkpoint on_load_checkpoint", "documents/test_told.py::test_hooks_of_a_data_module"),
    "LightningDataModule.from_datasets": "adapters/torch/test_data.py::test_from_datasets",
}  # fmt: skip

CALLBACK = {
    **all_of("Callback.", """
        on_after_backward on_batch_end on_batch_start on_before_accelerator_backend_setup on_before_backward
        on_before_optimizer_step on_before_zero_grad on_epoch_end on_epoch_start on_fit_end on_fit_start on_init_end
        on_init_start on_predict_batch_end on_predict_batch_start on_predict_end on_predict_epoch_end
        on_predict_epoch_start on_predict_start on_pretrain_routine_end on_pretrain_routine_start on_sanity_check_end
        on_sanity_check_start on_test_batch_end on_test_batch_start on_test_end on_test_epoch_end on_test_epoch_start
        on_test_start on_train_batch_end on_train_batch_start on_train_end on_train_epoch_end on_train_epoch_start
        on_train_start on_validation_batch_end on_validation_batch_start on_validation_end on_validation_epoch_end
        on_validation_epoch_start on_validation_start setup teardown
    """, ORDER),
    **all_of("Callback.", "on_keyboard_interrupt on_exception",
             "golden/test_torch_order.py::test_a_run_that_ends_with_an_error"),
    **all_of("Callback.", "on_save_checkpoint on_load_checkpoint",
             "documents/test_callbacks.py::test_every_hook_with_the_signature_of_the_notes"),
    **all_of("Callback.", "state_dict load_state_dict state_key", "documents/test_told.py::test_state_of_callbacks"),
    **all_of("Callback.", "checkpoint should_stop log_step every_n_updates",
             "documents/test_told.py::test_moments_of_a_callback"),
    **all_of("Callback.", "tick tick_seconds", "documents/test_told.py::test_a_callback_that_looks_now_and_then"),
    **all_of("Callback.", "observe observes_every_n_updates",
             "digests/test_run_past.py::test_an_observer_that_may_look_at_the_module_is_called_when_the_run_is_there"),
    "Callback.accumulation": "callbacks/test_small.py::test_it_is_the_flag_as_a_callback",
    "Callback.may_lag": "adapters/jax/test_log_places.py"
    "::test_a_dispatch_ends_at_a_row_only_for_who_does_not_say_that_it_may_come_late",
    "Callback.wants_batch_indices": "callbacks/test_prediction_writer.py"
    "::test_they_are_those_of_the_batches_that_a_limit_leaves",
}  # fmt: skip

CALLBACKS = below("callbacks.", "callbacks/", {
    "BackboneFinetuning": "test_peer.py::test_a_backbone_is_tuned_alike",
    "BaseFinetuning": "test_peer.py::test_layers_are_unfrozen_alike",
    "BasePredictionWriter": "test_peer.py::test_predictions_are_written_alike",
    "Callback": "../documents/test_flags.py::test_callbacks",
    "Checkpoint": "test_kinds.py::test_our_own_are_of_their_kinds",
    "DeviceStatsMonitor": "test_device_stats.py::test_what_there_is_to_say",
    "EarlyStop": "test_kinds.py::test_our_own_are_of_their_kinds",
    "EarlyStopping": "../documents/test_callbacks.py::test_early_stopping",
    "GPUStatsMonitor": "test_device_stats.py::test_what_nvidia_smi_tells",
    "GradientAccumulationScheduler": "test_small.py::test_it_is_the_flag_as_a_callback",
    "LambdaCallback": "../documents/test_callbacks.py::test_the_order_that_is_printed",
    "LearningRateLogger": "test_lr_monitor.py::test_the_older_name",
    "LearningRateMonitor": "test_lr_monitor.py::test_rates_are_logged",
    "ModelCheckpoint": "../documents/test_flags.py::test_checkpoint_callback_of_a_metric",
    "ModelPruning": "test_peer.py::test_weights_are_pruned_alike",
    "ModelSummary": "test_small.py::test_the_flag",
    "Progress": "test_kinds.py::test_our_own_are_of_their_kinds",
    "ProgressBar": "../documents/test_told.py::test_two_names_of_the_bar",
    "ProgressBarBase": "../documents/test_told.py::test_two_names_of_the_bar",
    "RichModelSummary": "test_small.py::test_the_table_of_rich",
    "RichProgressBar": "test_progress_subclasses.py::test_a_theme_and_a_console",
    "RichProgressBarTheme": "test_progress_subclasses.py::test_a_theme_and_a_console",
    "StateDigest": "../digests/test_state_digest.py::test_fast_dev_run_writes_nothing",
    "StochasticWeightAveraging": "test_peer.py::test_weights_are_averaged_alike",
    "TQDMProgressBar": "test_progress.py::test_bars_side_by_side_take_lines_of_their_own",
    "Timer": "test_timer.py::test_each_stage_is_measured",
})  # fmt: skip

LOGGERS = below("loggers.", "loggers/", {
    "CSVLogger": "test_csv.py::test_a_killed_run_keeps_what_was_flushed",
    "CometLogger": "test_clients.py::test_comet_fit_and_test_are_one_experiment",
    "DummyExperiment": "test_dummy.py::test_in_other_processes_an_experiment_does_nothing",
    "DummyLogger": "test_dummy.py::test_a_dummy_takes_everything",
    "LightningLoggerBase": "test_dummy.py::test_the_base_class_goes_by_both_names",
    "Logger": "test_base.py::test_a_logger_of_ones_own_has_defaults",
    "LoggerCollection": "test_rewind.py::test_a_collection_rewinds_each",
    "MLFlowLogger": "test_peers.py::test_mlflow",
    "NeptuneLogger": "test_clients.py::test_neptune_fit",
    "TensorBoardLogger": "../documents/test_flags.py::test_logger",
    "TestTubeLogger": "test_clients.py::test_test_tube",
    "WandbLogger": "test_peers.py::test_wandb",
    "rank_zero_experiment": "test_dummy.py::test_the_first_process_connects_and_the_others_know_its_run",
})  # fmt: skip

PROFILERS = {
    "profilers.SimpleProfiler": "profilers/test_peer.py::test_as_many_of_each",
    "profilers.AdvancedProfiler": "profilers/test_advanced.py::test_runs_one_after_another",
    "profilers.PassThroughProfiler": "profilers/test_simple.py::test_one_that_measures_nothing",
    "profilers.Profiler": "profilers/test_runs.py::test_every_stage_tells_its_own",
    "profilers.PyTorchProfiler": "adapters/torch/test_pytorch_profiler.py::test_the_first_five_batches_of_a_fit",
    "profilers.RegisterRecordFunction": "adapters/torch/test_pytorch_profiler.py"
    "::test_the_parts_of_a_module_in_a_recording_of_ones_own",
}

TUNER = below("tuner.", "tuner/", {
    "Tuner": "test_lr_find.py::test_the_tuner_of_newer_scripts_sets_it_by_itself",
    "Tuner.lr_find": "test_lr_find.py::test_the_numbers_are_lightnings",
    "Tuner.scale_batch_size": "test_scale_batch_size.py::test_the_tuner_of_newer_scripts",
    "LRFinder": "test_lr_find.py::test_the_suggestion_is_where_the_loss_falls_most",
    "LRFinder.suggestion": "test_lr_find.py::test_the_suggestion_is_where_the_loss_falls_most",
    "LRFinder.plot": "test_lr_find.py::test_the_plot_has_the_curve_and_the_suggestion",
})  # fmt: skip

METRICS = {
    "metrics.functional.accuracy": "documents/test_metrics.py::test_accuracy",
    **all_of("metrics.functional.", "confusion_matrix precision recall precision_recall f1",
             "documents/test_metrics.py::test_three_classes"),
    **all_of("metrics.functional.", "mean_absolute_error mean_squared_error",
             "documents/test_metrics.py::test_errors_of_numbers"),
}  # fmt: skip

PUBLIC = {
    "Callback": CALLBACKS["callbacks.Callback"],
    "CheckpointError": "adapters/torch/test_load.py::test_another_size_does_not_fit",
    "ConfigurationError": "adapters/torch/test_flags.py::test_impossible_values",
    "LightningDataModule": OF_DATA,
    "LightningModule": "documents/test_module.py::test_the_starter_example",
    "LossStep": "documents/test_told.py::test_steps_without_a_trainer",
    "NotFiniteError": "adapters/torch/test_steps.py::test_terminate_on_nan",
    "Step": "documents/test_told.py::test_the_step_of_a_module",
    "TorchBackend": "documents/test_told.py::test_steps_without_a_trainer",
    "Trainer": "documents/test_trainer.py::test_basic_use",
    "__version__": "structure/test_files.py::test_one_version",
    "callbacks": "documents/test_flags.py::test_callbacks",
    "failing_batch": "functional/test_replay_torch.py"
    "::test_what_of_a_batch_cannot_be_stored_is_named_and_the_rest_is_there",
    "functional": "functional/test_torch.py::test_a_state_made_by_hand_goes_into_fit",
    "load_state": "functional/test_load_state.py::test_a_checkpoint_of_an_earlier_version_goes_on_in_the_function",
    "loggers": LOGGERS["loggers.TensorBoardLogger"],
    "make_step": "documents/test_told.py::test_steps_without_a_trainer",
    "profilers": PROFILERS["profilers.SimpleProfiler"],
    "seed_everything": "documents/test_flags.py::test_reproducibility",
    "tuner": TUNER["tuner.Tuner"],
}

SHOWN = {**FLAGS, **TRAINER, **MODULE, **DATA_MODULE, **CALLBACK, **CALLBACKS, **LOGGERS, **PROFILERS, **TUNER,
         **METRICS, **PUBLIC}  # fmt: skip
"""name -> 'file.py::test', the file below tests/."""

NOT_YET = {
    "Trainer(amp_backend)": "refused: 'apex'",
    "Trainer(amp_level)": "refused: 'O1'",
    "Trainer(auto_select_gpus)": "refused: True",
    "Trainer(cluster_environment)": "refused: 'MyCluster'",
    "Trainer(enable_pl_optimizer)": "refused: True",
    "Trainer(log_gpu_memory)": "refused: 'all'",
    "Trainer(plugins)": "refused: 'ddp'",
    "Trainer(sync_batchnorm)": "refused: True",
    "Trainer(tpu_cores)": "refused: 8",
    "Trainer(barebones)": "unknown flag",
    "LightningModule.all_gather": "absent",
    "LightningModule.auto_move_data": "absent",
    "LightningModule.add_to_queue": "absent",
    "LightningModule.get_from_queue": "absent",
    "LightningModule.on_hpc_save": "absent",
    "LightningModule.on_hpc_load": "absent",
    "LightningModule.configure_model": "absent",
    "LightningDataModule.from_argparse_args": "absent",
    "accelerators.DDPAccelerator": "absent",
    "cluster_environments.ClusterEnvironment": "absent",
}
"""Documented names that are not built: 'refused: VALUE', where the flag takes its default only; 'unknown flag'; or
'absent'."""

VALUES_NOT_YET = {
    "deterministic": "yes",
    "strategy": "ddp",
}
"""Flags that are built, and a value that is refused by name."""
