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


class Tells:
    """Batches whose iterator tells where it stands, as grain's do."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches
        self.given: list[int] = []

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Any:
        return Telling(self)


class Telling:
    def __init__(self, loader: Tells) -> None:
        self.loader, self.at = loader, 0

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        if self.at == len(self.loader):
            raise StopIteration
        self.at += 1
        self.loader.given.append(self.at - 1)
        return self.loader.batches[self.at - 1]

    def get_state(self) -> int:
        return self.at

    def set_state(self, state: int) -> None:
        self.at = state


@pytest.mark.parametrize("world", RUNS)
def test_the_run_that_goes_on_does_not_pass_over_the_failing_batch_of_a_loader_that_tells_its_state(
    world: str, tmp_path: Path
):
    package, module, batch = RUNS[world]
    flags = {"max_epochs": 1, "terminate_on_nan": True, "default_root_dir": tmp_path, **QUIET}
    values = (1.0, 2.0, -1.0, 4.0, 5.0)
    with pytest.raises(package.NotFiniteError) as error:
        package.Trainer(**flags).fit(module(), Tells([batch(value) for value in values]))
    mended, seen = Tells([batch(abs(value)) for value in values]), []
    watch = package.callbacks.LambdaCallback(
        on_train_batch_start=lambda trainer, module, batch, batch_idx: seen.append((batch_idx, float(batch[0])))
    )
    package.Trainer(callbacks=[watch], **flags).fit(module(), mended, ckpt_path=error.value.path)
    assert seen == [(2, 1.0), (3, 4.0), (4, 5.0)]


def test_the_hook_of_a_jax_module_may_change_what_is_read_and_the_module_is_not_written(tmp_path: Path):
    class Renamed(JaxRoot):
        loaded = 0

        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            self.loaded = 1
            weights = checkpoint["state_dict"]
            weights["params.w"] = weights.pop("params.old")

    class Old(JaxRoot):
        def __init__(self) -> None:
            self.params = {"old": jnp.ones(())}

        def weight(self) -> Any:
            return self.params["old"]

    trainer = ft.Trainer(max_epochs=1, **QUIET)
    trainer.fit(Old(), [np.ones(2, np.float32)] * 2)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    module = Renamed()
    state = ft.load_state(tmp_path / "a.ckpt", module)
    assert float(state.params["params"]["w"]) == pytest.approx(0.8)
    assert module.loaded == 0
