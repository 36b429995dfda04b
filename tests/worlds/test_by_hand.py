"""Losses, positions and weights are those of loops written by hand."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.worlds.by_hand import run_by_hand
from tests.worlds.differences import BY_HAND, Difference
from tests.worlds.generate import any_program
from tests.worlds.hold import Pair, Run, everything, seeds
from tests.worlds.jax_world import run_jax
from tests.worlds.observe import Event, Record
from tests.worlds.program import Program
from tests.worlds.torch_world import run_torch

NUMBERS = (
    "max_epochs", "max_steps", "accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm", "precision",
    "limit_train_batches",
)  # fmt: skip


def without_exotic_flags(seed: int) -> Program:
    """A program of which a short loop can say the numbers: a model, an optimizer, and the flags that touch them."""
    program = any_program(seed)
    while program.several or program.model == "recurrent":
        seed += 1_000_000
        program = any_program(seed)
    return Program(
        model=program.model,
        returns=program.returns,
        optimizers=program.optimizers,
        train=program.train,
        flags={name: value for name, value in program.flags.items() if name in NUMBERS},
        seed=program.seed,
    )


def by_hand(program: Program, folder: Path) -> Record:
    record = Record(program)
    record.events = run_by_hand(program)
    return record


def numbers(record: Record) -> list[Event]:
    """Of a record, what the loops by hand say too."""
    kept: list[Event] = []
    for event in record.events:
        seen = event.values
        if "on_train_batch_end" in event.what:
            loss = next(value for name, value in seen.items() if name in ("outputs", "outputs.loss"))
            batch = event.what.split("=")[1]
            kept.append(Event(f"batch {batch}", {"epoch": seen["epoch"], "step": seen["step"], "loss": loss}))
        elif event.what == "end":
            weights = {name.removeprefix("weights."): w for name, w in seen.items() if name.startswith("weights.")}
            kept.append(Event("weights", weights))
        elif event.what.startswith("error"):
            kept.append(event)
    return kept


def seen_by_batch(run: Run) -> Run:
    """The run with a callback that sees each batch."""
    return lambda program, folder: run(replace(program, callback_hooks=("on_train_batch_end",)), folder)


def beside(by_hand: Run, run: Run) -> Pair:
    """A loop by hand and a world."""
    return Pair(("by hand", "world"), (by_hand, seen_by_batch(run)), BY_HAND, views=(everything, numbers))


@seeds(150, together=25)
def test_torch_gives_the_numbers_of_a_loop_by_hand(seeds: range, tmp_path: Path):
    beside(by_hand, run_torch).hold(seeds, without_exotic_flags, tmp_path)


@seeds(20)
def test_jax_gives_the_numbers_of_a_loop_by_hand(seeds: range, tmp_path: Path):
    beside(by_hand, run_jax).hold(seeds, without_exotic_flags, tmp_path)


@pytest.mark.parametrize("what", ["momentum", "window", "clip"])
def test_a_wrong_loop_by_hand_is_found_out(what: str, tmp_path: Path):
    def wrong(program: Program, folder: Path) -> Record:
        flags = dict(program.flags)
        if what == "window":
            flags.pop("accumulate_grad_batches", None)
        if what == "clip":
            flags.pop("gradient_clip_val", None)
        kind = "sgd" if what == "momentum" else program.optimizers[0].kind
        return by_hand(replace(program, flags=flags, optimizers=(replace(program.optimizers[0], kind=kind),)), folder)

    with pytest.raises(AssertionError, match="by hand and world differ"):
        beside(wrong, run_torch).hold(range(40), without_exotic_flags, tmp_path)


@pytest.mark.parametrize("row", BY_HAND, ids=lambda row: row.reason)
def test_a_difference_from_a_loop_by_hand_is_still_there(row: Difference, tmp_path: Path):
    assert row.concerns(row.example)
    assert beside(by_hand, run_torch).differ(row.example, tmp_path) is not None
