"""Profilers in runs of both worlds: what is measured, and that each run tells it once, however it ends."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import functrain_jax as ft
import functrain_torch as pl
from functrain import Callback
from functrain.loggers import CSVLogger
from functrain.profilers import AdvancedProfiler, PassThroughProfiler, Profiler, SimpleProfiler
from functrain.trainer.errors import ConfigurationError
from tests.profilers.test_simple import table
from tests.structure.graph import ROOT

QUIET: dict[str, Any] = {
    "logger": False, "checkpoint_callback": False, "progress_bar_refresh_rate": 0, "weights_summary": None,
    "num_sanity_val_steps": 0, "max_epochs": 2,
}  # fmt: skip
BATCHES = [np.full((4, 2), i, np.float32) for i in range(6)]


class OfTorch(pl.LightningModule):
    """One weight a feature; measures a part of its step."""

    fails = False

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(2, 1)

    def training_step(self, batch: Any) -> Any:
        with self.trainer.profiler.profile("my own"):
            if self.fails:
                raise ArithmeticError("fails")
            return self.linear(torch.as_tensor(batch)).square().mean()

    def validation_step(self, batch: Any) -> None:
        pass

    def test_step(self, batch: Any) -> None:
        pass

    def predict_step(self, batch: Any) -> Any:
        return batch.sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class OfJax(ft.Module):
    """The same in JAX, whose step is traced once."""

    fails = False

    def __init__(self) -> None:
        self.params = {"w": jnp.ones(2)}

    def training_step(self, batch: Any) -> Any:
        if self.fails:
            raise ArithmeticError("fails")
        return jnp.square(batch @ self.params["w"]).mean()

    validation_step, test_step, predict_step = OfTorch.validation_step, OfTorch.test_step, OfTorch.predict_step

    def configure_optimizers(self) -> Any:
        return optax.sgd(0.01)


BOTH = pytest.mark.parametrize(("world", "kind"), [(pl, OfTorch), (ft, OfJax)], ids=["torch", "jax"])


class Own(Profiler):
    """One of a user's own, whose __init__ does not call the base's."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def setup(self, stage=None, local_rank=None, log_dir=None) -> None:
        super().setup(stage, local_rank, log_dir)
        self.seen.append(f"setup {stage}")

    def start(self, action_name: str) -> None:
        self.seen.append(action_name)

    def stop(self, action_name: str) -> None:
        self.seen.append(f"/{action_name}")

    def summary(self) -> str:
        self.seen.append("summary")
        return "mine"

    def teardown(self, stage=None) -> None:
        self.seen.append(f"teardown {stage}")


def calls(text: str) -> dict[str, int]:
    return {name: int(cells[-3]) for name, cells in table(text).items() if name not in ("Action", "Total")}


def test_actions_of_a_fit_in_torch(capsys):
    pl.Trainer(profiler="simple", **QUIET).fit(OfTorch(), BATCHES, BATCHES[:2])
    told = calls(capsys.readouterr().out)
    assert told.pop("run_training_batches") <= 12
    assert told == {
        "run_training_epoch": 2, "get_train_batch": 12, "training_step": 12, "my own": 12, "backward": 12,
        "optimizer_step": 12, "run_validation": 2, "get_validate_batch": 6, "validation_step": 4,
        "configure_optimizers": 1, "train_dataloader": 1, "val_dataloader": 1,
    }  # fmt: skip


@BOTH
def test_every_stage_tells_its_own(world, kind, capsys):
    trainer, module = world.Trainer(profiler="simple", **QUIET), kind()
    trainer.fit(module, BATCHES, BATCHES[:2])
    assert "FIT Profiler Report" in capsys.readouterr().out
    for stage, step in (("validate", "validation_step"), ("test", "test_step"), ("predict", "predict_step")):
        getattr(trainer, stage)(module, BATCHES[:3])
        out = capsys.readouterr().out
        assert out.count("Profiler Report") == 1
        assert f"{stage.upper()} Profiler Report" in out
        told = calls(out)
        assert told[step] in (1, 3)
        assert told[f"get_{stage}_batch"] in (3, 4)  # the last asking finds the end, where nobody counts before
        assert not {"training_step", "run_training_epoch"} & set(told)


@BOTH
@pytest.mark.parametrize("word", ["simple", "advanced", "Simple"])
def test_words(world, kind, word, capsys):
    trainer = world.Trainer(profiler=word, **QUIET)
    assert type(trainer.profiler) is (AdvancedProfiler if word == "advanced" else SimpleProfiler)
    trainer.fit(kind(), BATCHES)
    assert "training_step" in capsys.readouterr().out


@BOTH
def test_none_is_one_that_measures_nothing_and_tells_nothing(world, kind, capsys):
    trainer = world.Trainer(**QUIET)
    assert type(trainer.profiler) is PassThroughProfiler
    trainer.fit(kind(), BATCHES)
    assert trainer.run.profiler is None
    given = PassThroughProfiler()
    trainer = world.Trainer(profiler=given, **QUIET)
    assert trainer.profiler is given
    trainer.fit(kind(), BATCHES)
    assert trainer.run.profiler is None
    trainer.profiler = None
    assert type(trainer.profiler) is PassThroughProfiler
    assert "Profiler" not in capsys.readouterr().out


@BOTH
def test_two_fits_in_a_row_are_told_apart(world, kind, capsys):
    trainer, module, told = world.Trainer(profiler="simple", **QUIET), kind(), []
    for _ in range(2):
        trainer.fit(module, BATCHES)
        told.append(calls(capsys.readouterr().out))
    assert told[0]["run_training_epoch"] == told[1]["run_training_epoch"] == 2
    assert told[0]["get_train_batch"] == told[1]["get_train_batch"] == 12


@BOTH
@pytest.mark.parametrize("word", ["simple", "advanced"])
def test_a_run_that_fails_tells_what_was_measured_and_the_next_one_its_own(world, kind, word, capsys):
    trainer, module = world.Trainer(profiler=word, **QUIET), kind()
    module.fails = True
    with pytest.raises(ArithmeticError, match="fails"):
        trainer.fit(module, BATCHES)
    out = capsys.readouterr().out
    assert out.count("FIT Profiler Report") == 1
    assert "get_train_batch" in out
    module.fails = False
    trainer.fit(module, BATCHES)
    assert capsys.readouterr().out.count("FIT Profiler Report") == 1


def test_a_run_that_ctrl_c_ends_tells_it_too(capsys):
    class Interrupts(OfTorch):
        def on_train_epoch_start(self):
            raise KeyboardInterrupt

    trainer = pl.Trainer(profiler="simple", **QUIET)
    trainer.fit(Interrupts(), BATCHES)
    assert "Interrupts.on_train_epoch_start" in calls(capsys.readouterr().out)


def test_the_same_weights_with_and_without(capsys):
    def fitted(**flags: Any) -> list[Any]:
        torch.manual_seed(3)
        module = OfTorch()
        pl.Trainer(**QUIET, **flags).fit(module, BATCHES)
        return [p.detach().numpy() for p in module.parameters()]

    for one, other in zip(fitted(), fitted(profiler="advanced"), strict=True):
        assert np.array_equal(one, other)


def test_a_report_goes_where_the_logs_go(tmp_path, capsys):
    logger = CSVLogger(tmp_path / "logs")
    flags = {**QUIET, "logger": logger}
    pl.Trainer(profiler=SimpleProfiler(filename="times"), **flags).fit(OfTorch(), BATCHES)
    assert "training_step" in calls((Path(logger.log_dir) / "fit-times.txt").read_text())
    pl.Trainer(profiler=SimpleProfiler(filename="times"), default_root_dir=tmp_path, **QUIET).fit(OfTorch(), BATCHES)
    assert (tmp_path / "fit-times.txt").exists()
    assert "Profiler" not in capsys.readouterr().out


def test_no_run_fails_for_a_report_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    profiler = SimpleProfiler(dirpath=tmp_path / "file" / "below", filename="x")
    with pytest.warns(UserWarning, match=r"the report of SimpleProfiler is not written: .*below"):
        pl.Trainer(profiler=profiler, **QUIET).fit(OfTorch(), BATCHES)
    assert "training_step" in calls(profiler.summary())


@BOTH
def test_ones_own(world, kind, capsys):
    own = Own()
    world.Trainer(profiler=own, **QUIET).fit(kind(), BATCHES)
    assert own.seen[0] == "setup fit"
    assert own.seen[-2:] == ["summary", "teardown fit"]
    assert own.seen.index("run_training_epoch") < own.seen.index("training_step") < own.seen.index("/training_step")
    assert capsys.readouterr().out == "mine\n"


@BOTH
def test_an_object_with_profile_alone_is_one(world, kind):
    class Least:
        count = 0

        @contextmanager
        def profile(self, name):
            self.count += name == "training_step"
            yield

    least = Least()
    world.Trainer(profiler=least, **QUIET).fit(kind(), BATCHES)
    assert least.count


def test_a_callback_finds_it():
    class Looks(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            with trainer.profiler.profile("looked"):
                pass

    trainer = pl.Trainer(profiler=SimpleProfiler(), callbacks=[Looks()], **QUIET)
    trainer.fit(OfTorch(), BATCHES)
    assert len(trainer.profiler.recorded_durations["looked"]) == 2
    assert len(trainer.profiler.recorded_durations["Looks.on_train_epoch_start"]) == 2


@BOTH
def test_inner_runs_are_not_measured_unless_they_are_to_be(world, kind, capsys):
    trainer, module = world.Trainer(profiler="simple", **QUIET), kind()
    outer = trainer.profiler
    with trainer.stacked():
        assert type(trainer.profiler) is PassThroughProfiler
        trainer.fit(module, BATCHES)
    assert trainer.profiler is outer
    assert "Profiler" not in capsys.readouterr().out
    with trainer.stacked(profiler="simple"):
        trainer.fit(module, BATCHES)
    assert "FIT Profiler Report" in capsys.readouterr().out
    assert outer.summary() == ""


def test_a_module_can_be_copied_while_it_is_measured(capsys):
    class Copies(OfTorch):
        def on_train_epoch_end(self):
            with self.trainer.profiler.profile("copy"):
                assert copy.deepcopy(self).trainer is None

    pl.Trainer(profiler="advanced", **QUIET).fit(Copies(), BATCHES)
    assert "copy" in capsys.readouterr().out


@BOTH
def test_a_dev_run_is_measured(world, kind, capsys):
    world.Trainer(profiler="simple", fast_dev_run=True, **QUIET).fit(kind(), BATCHES)
    assert calls(capsys.readouterr().out)["training_step"] == 1


def test_words_of_the_other_world_say_what_to_import(tmp_path):
    program = (
        "import functrain_torch as pl\n"
        "for word in ('jax', 'xla'):\n"
        "    try: pl.Trainer(profiler=word, logger=False)\n"
        "    except pl.ConfigurationError as error: print(error)\n"
        "import functrain_jax as ft\n"
        "print(type(pl.Trainer(profiler='jax', logger=False).profiler).__name__)\n"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "adapters")])
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
        cwd=tmp_path, check=True,
    )  # fmt: skip
    first, second, kind = done.stdout.splitlines()
    assert first.startswith("Trainer(profiler='jax'): that one comes with functrain_jax, which this program has not")
    assert second.startswith("Trainer(profiler='xla'): that one comes with functrain_jax")
    assert kind == "JAXProfiler"


def test_on_the_command_line():
    from argparse import ArgumentParser

    parser = pl.Trainer.add_argparse_args(ArgumentParser())
    trainer = pl.Trainer.from_argparse_args(parser.parse_args(["--profiler", "simple"]), **QUIET)
    assert type(trainer.profiler) is SimpleProfiler
    with pytest.raises(ConfigurationError, match="profiler='simpler'"):
        pl.Trainer.from_argparse_args(parser.parse_args(["--profiler", "simpler"]), **QUIET)
