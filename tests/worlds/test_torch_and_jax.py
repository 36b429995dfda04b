"""The same program in torch and in JAX: all that can be seen is the same."""

from pathlib import Path

from tests.worlds.differences import TORCH_AND_JAX
from tests.worlds.generate import any_program
from tests.worlds.hold import Pair, seeds
from tests.worlds.jax_world import run_jax
from tests.worlds.torch_world import run_torch

PAIR = Pair(("torch", "JAX"), (run_torch, run_jax), TORCH_AND_JAX)


@seeds(60)
def test_torch_and_jax_see_the_same(seeds: range, tmp_path: Path):
    PAIR.hold(seeds, any_program, tmp_path)
