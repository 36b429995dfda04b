"""The table of hooks: the name, the arguments and the owners of each, in the order in which they are called. Touches
nothing."""

from __future__ import annotations

from dataclasses import dataclass

MODULE, CALLBACK, DATA = "module", "callback", "data"


@dataclass(frozen=True, slots=True)
class Hook:
    """One hook.

    Attributes:
        name: the method's name.
        args: its documented arguments, after `self` (a callback's are preceded by `trainer, pl_module`).
        owners: who may define it: module, callback, data.
        doc: when it is called or what it does, in one sentence; the written methods say the same.
        per_batch: it is called at every training batch, so overriding it brings the host in at every batch.
        rest: an owner's `*args` takes all arguments; else only those that are named get theirs.
    """

    name: str
    args: tuple[str, ...]
    owners: tuple[str, ...]
    doc: str
    per_batch: bool = False
    rest: bool = True


BOTH = (CALLBACK, MODULE)
LOADERS = (DATA, MODULE)


def _stage(stage: str) -> tuple[Hook, ...]:
    """Return the hooks of one evaluation stage, in order."""
    batch = ("batch", "batch_idx", "dataloader_idx")
    loader = {"validation": "val"}.get(stage, stage)
    return (
        Hook(f"on_{loader}_dataloader", (), (MODULE,), f"The {stage} loader is about to be asked for."),
        Hook(f"on_{stage}_model_eval", (), (MODULE,), f"Put the model into evaluation mode, before the {stage} stage."),
        Hook(f"on_{stage}_start", (), BOTH, f"The {stage} stage begins."),
        Hook(f"on_{stage}_epoch_start", (), BOTH, f"The {stage} epoch begins."),
        Hook(f"on_{stage}_batch_start", batch, BOTH, f"A {stage} batch begins; it is not yet on the device."),
        Hook(f"on_{stage}_batch_end", ("outputs", *batch), BOTH, f"A {stage} batch ends."),
        Hook(f"{stage}_epoch_end", ("outputs",), (MODULE,), f"Get the outputs of all {stage} steps."),
        Hook(f"on_{stage}_epoch_end", ("outputs",), BOTH, f"The {stage} epoch ends."),
        Hook(f"on_{stage}_end", (), BOTH, f"The {stage} stage ends."),
        Hook(
            f"on_{stage}_model_train",
            (),
            (MODULE,),
            f"Put the model back into the mode that it had before the {stage} stage.",
        ),
    )


_BATCH = ("batch", "batch_idx", "dataloader_idx")

# In the order in which a fit calls them for the first time; the evaluation stages follow.
HOOKS: tuple[Hook, ...] = (
    Hook("on_init_start", (), (CALLBACK,), "The Trainer's construction begins."),
    Hook("on_init_end", (), (CALLBACK,), "The Trainer's construction ends."),
    Hook("prepare_data", (), LOADERS, "Download and prepare the data, on one process only."),
    Hook("configure_callbacks", (), (MODULE,), "Return callbacks of the module's own."),
    Hook("on_before_accelerator_backend_setup", (), (CALLBACK,), "The device is about to be set up."),
    Hook("on_fit_start", (), BOTH, "A fit begins."),
    Hook("setup", ("stage",), (DATA, CALLBACK, MODULE), "A stage begins: 'fit', 'validate', 'test' or 'predict'."),
    Hook("configure_sharded_model", (), (MODULE,), "Build large layers where they will live."),
    Hook("on_post_move_to_device", (), (MODULE,), "The parameters are on their device."),
    Hook("configure_optimizers", (), (MODULE,), "Return the optimizers and their schedulers."),
    Hook("on_load_checkpoint", ("checkpoint",), (DATA, CALLBACK, MODULE), "A checkpoint is being loaded."),
    Hook("on_pretrain_routine_start", (), BOTH, "The sanity check is about to be prepared."),
    Hook("on_pretrain_routine_end", (), BOTH, "All is set up for the sanity check."),
    Hook("on_sanity_check_start", (), (CALLBACK,), "The sanity check begins."),
    Hook("on_sanity_check_end", (), (CALLBACK,), "The sanity check ends."),
    Hook("on_train_dataloader", (), (MODULE,), "The training loader is about to be asked for."),
    Hook("on_train_start", (), BOTH, "Training begins."),
    Hook("on_epoch_start", (), BOTH, "A training epoch begins."),
    Hook("on_train_epoch_start", (), BOTH, "A training epoch begins."),
    Hook("on_batch_start", (), BOTH, "A training batch begins.", per_batch=True),
    Hook(
        "on_train_batch_start",
        _BATCH,
        BOTH,
        "A training batch begins; return -1 to skip the rest of the epoch.",
        per_batch=True,
    ),
    Hook(
        "on_before_batch_transfer",
        ("batch", "dataloader_idx"),
        LOADERS,
        "Return the batch as it is to be moved to the device.",
    ),
    Hook(
        "transfer_batch_to_device",
        ("batch", "device", "dataloader_idx"),
        LOADERS,
        "Return the batch, moved to the device.",
    ),
    Hook(
        "on_after_batch_transfer",
        ("batch", "dataloader_idx"),
        LOADERS,
        "Return the batch as the step is to get it, after it was moved.",
    ),
    Hook("on_before_zero_grad", ("optimizer",), BOTH, "The gradients are about to be cleared."),
    Hook(
        "optimizer_zero_grad",
        ("epoch", "batch_idx", "optimizer", "optimizer_idx"),
        (MODULE,),
        "Clear the gradients of an optimizer's parameters.",
    ),
    Hook(
        "on_before_backward",
        ("loss",),
        BOTH,
        "Backward is about to run; the loss is scaled as it will be differentiated.",
    ),
    Hook(
        "backward",
        ("loss", "optimizer", "optimizer_idx"),
        (MODULE,),
        "Run backward; the loss is scaled as the precision needs it.",
        rest=False,
    ),
    Hook("on_after_backward", (), BOTH, "Backward has run; the optimizer has done nothing yet."),
    Hook(
        "on_before_optimizer_step",
        ("optimizer", "optimizer_idx"),
        BOTH,
        "The optimizer is about to step; the gradients are unscaled means, not clipped.",
    ),
    Hook(
        "configure_gradient_clipping",
        ("optimizer", "optimizer_idx", "gradient_clip_val", "gradient_clip_algorithm"),
        (MODULE,),
        "Clip the mean gradients as the Trainer's flags say.",
    ),
    Hook(
        "optimizer_step",
        (
            "epoch",
            "batch_idx",
            "optimizer",
            "optimizer_idx",
            "optimizer_closure",
            "on_tpu",
            "using_native_amp",
            "using_lbfgs",
        ),
        (MODULE,),
        "Step the optimizer; backward has run before.",
    ),
    Hook(
        "lr_scheduler_step",
        ("scheduler", "optimizer_idx", "metric"),
        (MODULE,),
        "Step a scheduler.",
    ),
    Hook(
        "on_train_batch_end",
        ("outputs", *_BATCH),
        BOTH,
        "A training batch ends; the outputs are the step's dict, or one with its loss as 'loss', and of several "
        "optimizers a list of those that played, which one whose step returned None did not.",
        per_batch=True,
    ),
    Hook("on_batch_end", (), BOTH, "A training batch ends.", per_batch=True),
    Hook("training_epoch_end", ("outputs",), (MODULE,), "Get the outputs of all training steps of the epoch."),
    Hook("on_train_epoch_end", ("outputs",), BOTH, "A training epoch ends; validation has run."),
    Hook("on_epoch_end", (), BOTH, "An epoch of any stage ends."),
    Hook("on_save_checkpoint", ("checkpoint",), (DATA, CALLBACK, MODULE), "A checkpoint is about to be written."),
    Hook("on_keyboard_interrupt", (), (CALLBACK,), "Ctrl-C or SIGTERM has stopped the run."),
    Hook("on_exception", ("exception",), (CALLBACK,), "An error ends the run."),
    Hook("on_train_end", (), BOTH, "Training ends."),
    Hook("on_fit_end", (), BOTH, "A fit ends."),
    Hook("teardown", ("stage",), (DATA, CALLBACK, MODULE), "A stage ends: 'fit', 'validate', 'test' or 'predict'."),
    *_stage("validation"),
    *_stage("test"),
    *_stage("predict"),
)
BY_NAME: dict[str, Hook] = {hook.name: hook for hook in HOOKS}

# The Trainer's own moments, in the order in which they come: callbacks act there one by one, each known by its key.
MOMENTS: tuple[Hook, ...] = (
    Hook("observe", ("moment",), (CALLBACK,), "The state may be observed, so many updates after the last time."),
    Hook("log_step", ("metrics",), (CALLBACK,), "Step metrics are about to be written."),
    Hook("checkpoint", ("moment",), (CALLBACK,), "The state is whole and may be saved."),
    Hook(
        "should_stop",
        ("moment",),
        (CALLBACK,),
        "May set `trainer.should_stop`; checkpoints of this moment are written.",
    ),
)

STEPS = ("training_step", "validation_step", "test_step", "predict_step", "forward", "configure_optimizers")
LOADER_METHODS = tuple(f"{stage}_dataloader" for stage in ("train", "val", "test", "predict"))
