"""The suite can fail: a world that is wrong in one thing is found out, and the program that shows it is small."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import functrain_torch
from tests import inside
from tests.worlds.compare import first_difference
from tests.worlds.generate import any_program
from tests.worlds.hold import Pair
from tests.worlds.observe import Event, Record
from tests.worlds.program import Program
from tests.worlds.run import run
from tests.worlds.torch_world import API, run_torch


def faster(optimizer: Any) -> Any:
    if isinstance(optimizer, torch.optim.Optimizer):
        optimizer.param_groups[0]["lr"] *= 1.01
    return optimizer


def make_faster(program: Program, record: Record, folder: str) -> Any:
    """A module that learns one per cent faster."""
    module = API.make(program, record, folder)
    configure = module.configure_optimizers
    module.configure_optimizers = lambda: faster(configure())
    return module


WRONG: dict[str, Callable[[], Any]] = {
    "a row is late": lambda: replace(API, trainer=inside.writing_late(functrain_torch.Trainer)),
    "validation is short": lambda: replace(API, trainer=inside.validating_less(functrain_torch.Trainer)),
    "the rate is another": lambda: replace(API, make=make_faster),
    "the seed is another": lambda: replace(API, make=lambda p, *rest: API.make(replace(p, seed=p.seed + 1), *rest)),
    "a hook is not called": lambda: replace(
        API, make=lambda p, *rest: API.make(replace(p, module_hooks=p.module_hooks[:-1]), *rest)
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_world_is_found_out(wrong: str, tmp_path: Path):
    api = WRONG[wrong]()
    pair = Pair(("right", "wrong"), (run_torch, lambda program, folder: run(api, program, folder)))
    found = next(seed for seed in range(40) if pair.differ(any_program(seed), tmp_path) is not None)
    told = pair.told(found, any_program(found), tmp_path, tries=150)
    assert f"(seed {found})" in told
    program = eval(told.split("\n\n")[1], vars(__import__("tests.worlds.program", fromlist=["Program"])))
    assert pair.differ(program, tmp_path) is not None, "what is printed is the program that fails"
    assert len(repr(program)) < 400, "and it is small"


def test_a_seed_is_a_program():
    assert [any_program(seed) for seed in range(50)] == [any_program(seed) for seed in range(50)]
    assert len({repr(any_program(seed)) for seed in range(300)}) == 300


def test_a_world_agrees_with_itself_to_the_bit(tmp_path: Path):
    pair = Pair(("one", "again"), (run_torch, run_torch), tolerance=None)
    pair.hold(range(20), any_program, tmp_path)


def test_a_difference_is_told_with_what_came_before():
    same = [Event("first", {"n": 1.0}), Event("second")]
    assert first_difference(("a", "b"), same, list(same), 0.0) is None
    told = first_difference(("a", "b"), [*same, Event("row", {"loss": 1.0})], [*same, Event("row", {"loss": 2.0})], 0.1)
    assert told is not None
    assert "event 2: loss differ" in told
    assert "first n=1." in told
    told = first_difference(("a", "b"), same, same[:1], 0.0)
    assert told is not None
    assert "one of them ends" in told
