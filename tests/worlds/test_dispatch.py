"""How many steps JAX dispatches at once changes nothing that can be seen."""

from dataclasses import replace
from pathlib import Path

from tests.worlds.differences import DISPATCH
from tests.worlds.generate import any_program
from tests.worlds.hold import Pair, seeds
from tests.worlds.jax_world import run_jax
from tests.worlds.observe import Record
from tests.worlds.program import EACH_BATCH, Program


def many_at_once(seed: int) -> Program:
    """A program that lets JAX take as many steps at once as there are."""
    program = any_program(seed)
    module, callback = (
        tuple(h for h in hooks if h not in EACH_BATCH) for hooks in (program.module_hooks, program.callback_hooks)
    )
    train = program.train
    if seed % 4 == 0:
        train = replace(train, kind="sized", fails_at=seed % 7)
    acts = tuple(act for act in program.acts if act.hook in callback)
    return replace(program, train=train, module_hooks=module, callback_hooks=callback, acts=acts)


def one_by_one(program: Program, folder: Path) -> Record:
    """The same with hooks at every batch, which do nothing."""
    return run_jax(program, folder, idle=EACH_BATCH)


# Sums of logged values may differ in the last bit: the compiler contracts `total + value` in one program and not in the
# other.
PAIR = Pair(("many at once", "one by one"), (run_jax, one_by_one), DISPATCH, tolerance=5e-7)


@seeds(24, together=4)
def test_steps_dispatched_at_once_are_those_dispatched_one_by_one(seeds: range, tmp_path: Path):
    PAIR.hold(seeds, many_at_once, tmp_path)
