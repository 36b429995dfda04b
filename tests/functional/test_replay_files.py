"""What a run that ended for a NaN has left is never replaced by another run in the same directory."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import functrain_jax as ft
import functrain_torch as pl
from tests.one_weight import JaxWeight, TorchWeight

QUIET = {"logger": False, "checkpoint_callback": False, "progress_bar_refresh_rate": 0, "weights_summary": None}


class TorchRoot(TorchWeight):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return (torch.sqrt(batch) * self.weight()).mean()


class JaxRoot(JaxWeight):
    def training_step(self, batch: Any, batch_idx: Any) -> Any:
        return (jnp.sqrt(batch) * self.weight()).mean()


RUNS = {
    "torch": (pl, TorchRoot, lambda value: torch.full((2,), value)),
    "jax": (ft, JaxRoot, lambda value: np.full(2, value, np.float32)),
}


@pytest.mark.parametrize("second", RUNS)
@pytest.mark.parametrize("first", RUNS)
def test_two_runs_that_end_at_the_same_batch_leave_a_file_each(first: str, second: str, tmp_path: Path):
    left: list[tuple[Any, str, float]] = []
    for world, value in ((first, -1.0), (second, -2.0)):
        package, module, batch = RUNS[world]
        trainer = package.Trainer(max_epochs=1, terminate_on_nan=True, default_root_dir=tmp_path, **QUIET)
        with pytest.raises(package.NotFiniteError) as error:
            trainer.fit(module(), [batch(1.0), batch(value)])
        left.append((package, error.value.path, value))
    assert left[0][1] != left[1][1]
    for package, path, value in left:
        assert [float(x) for x in package.failing_batch(path)] == [value, value]


class Unsized:
    """Batches of which nobody knows how many they are."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Any:
        return iter(self.batches)


@pytest.mark.parametrize("world", RUNS)
def test_an_update_at_the_end_that_nobody_foresaw_is_looked_at_too(world: str, tmp_path: Path):
    """The window is longer than the epoch, whose losses are all finite; its update is not."""
    package, module, batch = RUNS[world]
    model = module()
    model.rate = 3e38
    trainer = package.Trainer(
        max_epochs=2, terminate_on_nan=True, accumulate_grad_batches=5, default_root_dir=tmp_path, **QUIET
    )
    with pytest.raises(package.NotFiniteError, match="is not finite after epoch 0, batch 2") as error:
        trainer.fit(model, Unsized([batch(100.0)] * 3))
    if world == "torch":
        (written,) = tmp_path.iterdir()
        assert error.value.path == str(written)
        step = package.functional(module(), accumulate_grad_batches=5)
        state = package.load_state(error.value.path, step)
        assert (state.clock.batch, state.players[0].acc.count) == (2, 2)
