"""A module of flax nnx, one of flax linen and one of plain arrays are the same program."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.worlds.generate import any_program
from tests.worlds.hold import Pair, seeds
from tests.worlds.jax_world import run_jax
from tests.worlds.program import Program


def of_one_optimizer(seed: int) -> Program:
    """A plain tree of parameters has one optimizer."""
    program = any_program(seed)
    return replace(program, optimizers=(replace(program.optimizers[0], frequency=None),))


@pytest.mark.parametrize("binding", ["plain", "linen"])
@seeds(9, together=3)
def test_a_module_is_the_same_in_nnx_and_otherwise(seeds: range, binding: str, tmp_path: Path):
    pair = Pair(("nnx", binding), (run_jax, partial(run_jax, binding=binding)), tolerance=1e-6)
    pair.hold(seeds, of_one_optimizer if binding == "plain" else any_program, tmp_path)
