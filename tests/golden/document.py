"""The order of hooks as the documents tell it, written down from them by hand."""

from __future__ import annotations

BATCH_TRANSFER = ["on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer"]


def fit_of_pseudo_code(epochs: int, batches: int, val_batches: int, window: int) -> list[str]:
    """What the pseudo-code under "Hooks" calls in a fit, sanity check and accumulation included.

    The gradients are cleared where a window begins and the optimizer steps where one ends; the pseudo-code, which
    accumulates nothing, has both at every batch.
    """
    validation = val_loop(val_batches)
    start = ["prepare_data", "configure_callbacks", "on_fit_start", "setup", "configure_optimizers"]
    calls = [*start, *validation, "on_train_start"]
    for _ in range(epochs):
        calls += fit_loop(batches, window, validation)
    return [*calls, "on_train_end", "on_fit_end", "teardown"]


def fit_loop(batches: int, window: int, validation: list[str]) -> list[str]:
    """The pseudo-code's fit_loop: one epoch, validation after its last batch."""
    calls = ["on_train_epoch_start"]
    for i in range(batches):
        calls += ["on_train_batch_start", *BATCH_TRANSFER, "training_step"]
        if i % window == 0:
            calls += ["on_before_zero_grad", "optimizer_zero_grad"]
        calls += ["on_before_backward", "backward", "on_after_backward"]
        if (i + 1) % window == 0 or i + 1 == batches:
            calls += ["on_before_optimizer_step", "configure_gradient_clipping", "optimizer_step"]
        calls += ["on_train_batch_end"]
        if i + 1 == batches:
            calls += validation
    return [*calls, "training_epoch_end", "on_train_epoch_end"]


def val_loop(batches: int) -> list[str]:
    """The pseudo-code's val_loop."""
    calls = ["on_validation_model_eval", "on_validation_start", "on_validation_epoch_start"]
    for _ in range(batches):
        calls += ["on_validation_batch_start", *BATCH_TRANSFER, "validation_step", "on_validation_batch_end"]
    ends = ["validation_epoch_end", "on_validation_epoch_end", "on_validation_end", "on_validation_model_train"]
    return [*calls, *ends]


PSEUDO_CODE: frozenset[str] = frozenset(fit_of_pseudo_code(1, 1, 1, 1))

# What the callbacks' document prints for each stage of a run.
PRINTED: dict[str, list[str]] = {
    "init": ["on_init_start", "on_init_end"],
    "around": ["setup", "on_fit_start", "on_train_start", "on_train_end", "on_fit_end", "teardown"],
    "validation": [
        "on_validation_start",
        "on_validation_epoch_start",
        "on_validation_epoch_end",
        "on_epoch_end",
        "on_validation_end",
    ],
    "train epoch": ["on_epoch_start", "on_train_epoch_start", "on_train_epoch_end", "on_epoch_end"],
    "test": ["on_test_start", "on_test_epoch_start", "on_test_epoch_end", "on_epoch_end", "on_test_end"],
}
