"""A signal between two steps, at an epoch's end, in the last hooks, before training: what is said and saved."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import functrain_jax as fj
import functrain_torch as pl
from functrain.callbacks import ModelCheckpoint
from tests.errors.torch_parts import Validated, loader

QUIET: dict[str, Any] = {
    "logger": False, "progress_bar_refresh_rate": 0, "weights_summary": None, "num_sanity_val_steps": 0,
}  # fmt: skip


class Jaxed(fj.Module):
    def __init__(self) -> None:
        self.params = {"w": jnp.zeros((3,))}

    def training_step(self, batch: Any, batch_idx: Any) -> Any:
        return (batch @ self.params["w"]).mean()

    def validation_step(self, batch: Any, batch_idx: Any) -> None:
        self.log("val_loss", (batch @ self.params["w"]).mean())

    def configure_optimizers(self) -> Any:
        return optax.sgd(0.1)


def signalled(hook: str, epoch: int = 0) -> Any:
    """A callback that sends its process SIGTERM in this hook, once."""

    def send(self: Any, trainer: Any, *args: Any, **kwargs: Any) -> None:
        if trainer.current_epoch == epoch and not trainer.interrupted:
            os.kill(os.getpid(), signal.SIGTERM)

    return type("Signalled", (pl.Callback,), {hook: send})()


@pytest.fixture(params=["torch", "jax"])
def stopped(request: Any, capsys: Any) -> Any:
    """Runs until the signal; gives the Trainer, what it said, and what the signal was answered with."""

    def run(*callbacks: Any, **more: Any) -> tuple[Any, str, str]:
        fit = {name: more.pop(name) for name in ("ckpt_path",) if name in more}
        flags: dict[str, Any] = {**QUIET, "max_epochs": 3, "callbacks": list(callbacks), **more}
        if not any(isinstance(callback, ModelCheckpoint) for callback in callbacks):
            flags["checkpoint_callback"] = False
        if request.param == "torch":
            trainer, parts = pl.Trainer(**flags), (Validated(), loader(), loader())
        else:
            batches = [np.ones((2, 3), np.float32)] * 3
            trainer, parts = fj.Trainer(**flags), (Jaxed(), batches, batches)
        with pytest.raises(SystemExit) as ended:
            trainer.fit(*parts, **fit)
        assert ended.value.code == 143
        said = capsys.readouterr()
        return trainer, said.out, said.err

    return run


def test_a_signal_in_the_last_hooks_is_not_told_that_something_is_set_up(stopped: Any):
    _, said, answered = stopped(signalled("on_train_end", 3))
    assert "SIGTERM: the run ends after its last hooks" in answered
    assert "SIGTERM came when the training was over, after 9 updates: nothing of it is missing" in said
    assert "Stopped by" not in said


@pytest.mark.parametrize(
    ("hook", "doing"),
    [
        ("setup", "what is being set up"),
        ("on_fit_start", "what is being set up"),
        ("on_train_start", "the hooks and checkpoints under way"),
        ("on_validation_epoch_end", "the validation hooks under way"),
        ("on_train_epoch_end", "the hooks and checkpoints under way"),
    ],
)
@pytest.mark.parametrize("stopped", ["torch"], indirect=True)  # in JAX a thread answers, which may come a little later
def test_the_answer_to_a_signal_says_what_is_under_way(hook: str, doing: str, stopped: Any):
    assert f"the run ends after {doing}." in stopped(signalled(hook))[2]


@pytest.mark.parametrize("hook", ["on_epoch_start", "on_train_epoch_start"])
@pytest.mark.parametrize("arguments", [{}, {"save_last": True}, {"monitor": "val_loss", "save_top_k": -1}])
def test_what_was_saved_at_an_epochs_end_is_not_saved_again_by_a_signal_right_after_it(
    hook: str, arguments: dict[str, Any], stopped: Any, tmp_path: Path
):
    saver = ModelCheckpoint(tmp_path, "{epoch}", **arguments)
    trainer, said, _ = stopped(signalled(hook, 1), saver)
    last = ["last.ckpt"] if saver.save_last else []
    assert sorted(path.name for path in tmp_path.glob("*.ckpt")) == ["epoch=0.ckpt", *last]
    assert f"Stopped by SIGTERM at the start of epoch 1, after {trainer.global_step} updates. To continue: " in said
    assert "was not saved" not in said


def test_a_run_that_a_signal_ends_before_its_first_batch_continues_from_where_it_began(stopped: Any, tmp_path: Path):
    _, said, _ = stopped(signalled("on_train_epoch_end"), ModelCheckpoint(tmp_path / "a", monitor="val_loss"))
    path = said.split("ckpt_path='")[1].split("'")[0]
    _, said, _ = stopped(
        signalled("on_train_start", 0), ModelCheckpoint(tmp_path / "b", monitor="val_loss"), ckpt_path=path
    )
    assert f"To continue: fit(..., ckpt_path={path!r})" in said
    assert not list((tmp_path / "b").glob("*.ckpt"))
