"""The recorded order of hooks in JAX: the same golden lines, as far as a compiled run has the hook."""

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functrain_jax
from tests import inside
from tests.golden.events import BATCHES, recorded_run
from tests.golden.recorder import STEPS, golden, name_of, recorded, recording_callback

# Traced once a shape instead of called at every batch: the steps, and the last of the transfer hooks.
TRACED = {name for name in STEPS if not name.endswith("_dataloader")} | {"on_after_batch_transfer"}
WITHOUT = {*inside.step_hooks(), *TRACED}


class Model(functrain_jax.Module):
    """A line through a few points; defines each step and loader."""

    def __init__(self) -> None:
        self.params = {"w": jnp.zeros(2)}

    def loss(self, batch: Any) -> Any:
        return jnp.square(batch @ self.params["w"] - 1.0).mean()

    def training_step(self, batch: Any, batch_idx: Any) -> Any:
        return self.loss(batch)

    validation_step = test_step = training_step

    def predict_step(self, batch: Any, batch_idx: Any) -> Any:
        return batch @ self.params["w"]

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        return batch

    def train_dataloader(self) -> Any:
        return Points(3)

    def val_dataloader(self) -> Any:
        return Points(2)

    def test_dataloader(self) -> Any:
        return Points(2)

    def predict_dataloader(self) -> Any:
        return Points(1)

    def configure_optimizers(self) -> Any:
        return optax.sgd(0.1)


class Logging(Model):
    """Logs its losses."""

    def training_step(self, batch: Any, batch_idx: Any) -> Any:
        loss = self.loss(batch)
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: Any) -> None:
        self.log("val_loss", self.loss(batch))


class Points:
    """So many batches of two points."""

    def __init__(self, batches: int) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[Any]:
        return iter([np.ones((2, 2), np.float32)] * self.batches)


def trainer(lines: list[str] | None = None, **flags: Any) -> functrain_jax.Trainer:
    quiet = {"logger": False, "checkpoint_callback": False, "progress_bar_refresh_rate": 0, "weights_summary": None}
    callback = None if lines is None else recording_callback(lines, WITHOUT)
    return functrain_jax.Trainer(callbacks=callback, **quiet, **flags)


def expected(name: str) -> list[str]:
    return [line for line in golden(name) if name_of(line) not in WITHOUT]


def test_fit_and_test():
    lines: list[str] = []
    model = recorded(Model, lines, without=WITHOUT)()
    run = trainer(lines, max_epochs=2, accumulate_grad_batches=2)
    run.fit(model)
    run.test(model)
    assert lines == expected("fit_and_test")


def test_the_rest(tmp_path: Any):
    lines: list[str] = []
    short = {"max_epochs": 1, "limit_train_batches": 1, "num_sanity_val_steps": 0, "limit_val_batches": 0}
    model = recorded(Model, lines, without=WITHOUT)()
    run = trainer(lines, **short)
    run.fit(model)
    lines.clear()
    run.save_checkpoint(tmp_path / "a.ckpt")
    trainer(lines, **short).fit(model, ckpt_path=str(tmp_path / "a.ckpt"))
    trainer(lines, limit_val_batches=1).validate(model, verbose=False)
    trainer(lines).predict(model)
    assert lines == expected("the_rest")


def test_events():
    assert recorded_run(Logging(), Points(BATCHES), Points(1), functrain_jax.Trainer) == golden("events")


@pytest.mark.parametrize("hook", inside.step_hooks())
def test_a_hook_that_a_compiled_step_does_not_have_is_an_error(hook: str):
    model = type("Model", (Model,), {hook: lambda self, *args: None})()
    with pytest.raises(functrain_jax.ConfigurationError, match=f"{hook} is overridden, but the steps"):
        trainer(max_epochs=1).fit(model)
