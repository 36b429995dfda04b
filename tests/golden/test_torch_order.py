"""The recorded order of hooks in torch: as in the golden files, and as the documents say."""

import pytest

from functrain.trainer.hook_table import CALLBACK, DATA, HOOKS, MODULE
from tests.golden import torch_run
from tests.golden.document import PRINTED, PSEUDO_CODE, fit_of_pseudo_code
from tests.golden.recorder import HERE, STEPS, golden, hooks_of, name_of, only

HOOKS_TOLD = ("fit_and_test", "the_rest", "data_module")


@pytest.mark.parametrize("name", torch_run.RUNS)
def test_as_in_the_golden_file(name: str):
    assert without_titles(torch_run.RUNS[name]()) == golden(name)


def without_titles(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.startswith("#")]


def part(name: str, title: str) -> list[str]:
    """One part of a golden file."""
    lines = (HERE / f"{name}.txt").read_text(encoding="utf-8").split("# ")
    return next(text.splitlines()[1:] for text in lines if text.startswith(title))


def test_every_hook_is_somewhere_in_the_golden_files():
    told = {tuple(line.split()[:2]) for name in HOOKS_TOLD for line in golden(name)}
    errors = {(CALLBACK, "on_keyboard_interrupt"), (CALLBACK, "on_exception")}
    checkpoints = {(DATA, "on_save_checkpoint"), (DATA, "on_load_checkpoint")}
    every = {(owner, name) for owner in (MODULE, CALLBACK, DATA) for name in hooks_of(owner)}
    assert every - told == errors | checkpoints


def test_module_hooks_follow_the_pseudo_code():
    expected = fit_of_pseudo_code(epochs=2, batches=3, val_batches=2, window=2)
    assert only(part("fit_and_test", "fit"), MODULE, PSEUDO_CODE) == expected


def test_callbacks_follow_the_printed_order():
    """Within a stage. Where the document lets validation follow the training epoch, design.md decides otherwise, and
    on_fit_start comes before setup, as the pseudo-code of the hooks says."""
    names = {name for stage in PRINTED.values() for name in stage}
    fit, test = part("fit_and_test", "fit"), part("fit_and_test", "test")
    validation, training = PRINTED["validation"], PRINTED["train epoch"]
    epoch = [*training[:2], *validation, *training[2:]]
    around = ["on_init_start", "on_init_end", "on_fit_start", "setup"]
    ends = ["on_train_end", "on_fit_end", "teardown"]
    assert only(fit, CALLBACK, names) == [*around, *validation, "on_train_start", *epoch, *epoch, *ends]
    assert only(test, CALLBACK, names) == ["setup", *PRINTED["test"], "teardown"]


def test_golden_files_name_hooks_only():
    known = {hook.name for hook in HOOKS} | set(STEPS)
    assert {name_of(line) for name in HOOKS_TOLD for line in golden(name)} <= known


@pytest.mark.parametrize(
    ("error", "hook"), [(KeyboardInterrupt(), "on_keyboard_interrupt"), (RuntimeError("stop"), "on_exception")]
)
def test_a_run_that_ends_with_an_error(error: BaseException, hook: str):
    lines = torch_run.ending(error)
    after = lines[lines.index("module training_step batch_idx=0") + 1 :]
    left = ["callback on_train_end", "module on_train_end", "callback on_fit_end", "module on_fit_end"]
    down = ["callback teardown stage=fit", "module teardown stage=fit"]
    if isinstance(error, KeyboardInterrupt):
        assert after == [f"callback {hook}", *left, *down]
    else:
        assert after == [f"callback {hook}", *down, "raised"]


def test_after_an_update_log_validate_checkpoint_stop():
    """In this order, wherever several of them are due at one update within an epoch."""
    order = ["log", "validate", "checkpoint", "stop"]
    groups: dict[str, list[str]] = {}
    for line in golden("events"):
        what, *_, update = line.split()
        if what in order and "epoch" not in line:
            groups.setdefault(update, []).append(what)
    assert groups
    for found in groups.values():
        assert found == sorted(found, key=order.index)
