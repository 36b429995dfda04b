"""A run that continues from a checkpoint, taken at any moment, is the rest of the run that was not disturbed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.worlds.compare import first_difference
from tests.worlds.generate import Dice, any_program
from tests.worlds.hold import seeds
from tests.worlds.jax_world import run_jax
from tests.worlds.observe import Event
from tests.worlds.program import Act, Program
from tests.worlds.torch_world import run_torch

MOMENTS = (
    "on_train_batch_end", "on_batch_end", "on_validation_end", "on_train_epoch_start", "on_train_epoch_end",
    "on_epoch_end", "on_train_start",
)  # fmt: skip


def that_saves(seed: int) -> Program:
    """A program whose first callback saves a checkpoint somewhere."""
    program, dice = any_program(seed), Dice(seed)
    # A validation whose metrics are not published yet is done over, as documented; `on_epoch_end` is its hook too.
    moments = [m for m in MOMENTS if m != ("on_epoch_end" if program.val else "on_validation_end")]
    act = Act(dice.one(*moments), dice.one(0, 0, 1, 2, 3), "save")
    flags = {name: value for name, value in program.flags.items() if name != "fast_dev_run"}
    return replace(
        program,
        given="fit",
        callback_hooks=tuple(dict.fromkeys([*program.callback_hooks, act.hook])),
        acts=(act,),
        looks=False,
        early_stop=program.early_stop,
        checkpoint=None,
        flags=flags,
        then=(),
    )


def differ(run: Callable[..., Any], program: Program, folder: Path) -> str | None:
    """How the rest of a run differs from the run that continues from the checkpoint within it."""
    for name in ("whole", "rest"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    whole = run(program, folder / "whole")
    if whole.saved is None or any(event.what.startswith("error") for event in whole.events):
        return None
    rest = run(replace(program, acts=()), folder / "rest", resume=whole.saved)
    return first_difference(("whole", "continued"), after_save(whole.events), training(rest.events), 0.0)


def after_save(events: list[Event]) -> list[Event]:
    """What came after the checkpoint; of the hook that saved it, the callback's part was done. At a batch's end the
    module's part too: no checkpoint keeps the batch and the outputs that it would get."""
    saved = next(i for i, event in enumerate(events) if event.what == "act save")
    rest = training(events[saved + 1 :])
    at_batch_end = events[saved - 1].what.startswith("callback on_train_batch_end") if saved else False
    if at_batch_end and rest and rest[0].what.startswith("module on_train_batch_end"):
        return rest[1:]
    return rest


BEFORE_TRAINING = (
    "setup", "on_fit_start", "on_pretrain_routine_start", "on_pretrain_routine_end", "on_sanity_check_start",
    "on_sanity_check_end", "on_load_checkpoint", "on_save_checkpoint", "on_train_start",
)  # fmt: skip


def training(events: list[Event]) -> list[Event]:
    """What belongs to the training: not its beginnings, which the run that continues has again."""
    names = (event.what.split() for event in events)
    told = zip(names, events, strict=True)
    return [e for words, e in told if words[0] != "warning" and (len(words) < 2 or words[1] not in BEFORE_TRAINING)]


def hold(run: Callable[..., Any], seeds: range, folder: Path) -> None:
    for seed in seeds:
        program = that_saves(seed)
        told = differ(run, program, folder / str(seed))
        assert told is None, f"seed {seed}\n\n{program!r}\n\n{told}"


@seeds(60, together=10)
def test_a_torch_run_that_continues_is_the_rest_of_the_run(seeds: range, tmp_path: Path):
    hold(run_torch, seeds, tmp_path)


@seeds(12, together=3)
def test_a_jax_run_that_continues_is_the_rest_of_the_run(seeds: range, tmp_path: Path):
    hold(run_jax, seeds, tmp_path)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_run_that_continues_with_other_data_is_found_out(seed: int, tmp_path: Path):
    def forgetful(program: Program, folder: Path, resume: str | None = None) -> Any:
        return run_torch(program if resume is None else replace(program, seed=program.seed + 1), folder, resume)

    program = replace(that_saves(seed), acts=(Act("on_train_start", 0, "save"),), callback_hooks=("on_train_start",))
    assert differ(forgetful, program, tmp_path) is not None
