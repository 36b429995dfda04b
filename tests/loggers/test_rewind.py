"""A run that continues from a checkpoint: its loggers' files hold each step once, and nothing of others is lost."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import functrain_torch as pl
from functrain.loggers import CSVLogger, LoggerCollection, TensorBoardLogger
from functrain.loggers.base import Logger
from tests.callbacks.helpers import Scripted, by_epoch, fit
from tests.callbacks.test_jax import Line, Loader

ROOT = Path(__file__).resolve().parents[2]


def rows(logger: Any) -> list[dict[str, str]]:
    with open(Path(logger.log_dir) / "metrics.csv", newline="") as file:
        return [{k: v for k, v in row.items() if v} for row in csv.DictReader(file, restval="")]


def steps(logger: Any) -> list[int]:
    return [int(row["step"]) for row in rows(logger)]


def logged(logger: Any, *at: int, name: str = "loss") -> Any:
    for step in at:
        logger.log_metrics({name: float(step)}, step)
    logger.save()
    return logger


def continued(directory: Path, step: int, state: dict[str, Any]) -> CSVLogger:
    logger = CSVLogger(directory, version=0)
    logger.rewind(step, state)
    return logger


# ---- CSV


def test_rows_of_later_steps_are_dropped(tmp_path):
    first = logged(CSVLogger(tmp_path, version=0), 1, 2, 3)
    state = first.state_dict()
    logged(first, 4, 5)
    again = logged(continued(tmp_path, 3, state), 4, 5, 6)
    assert steps(again) == [1, 2, 3, 4, 5, 6]
    assert os.listdir(again.log_dir) == ["metrics.csv"]


def test_rows_of_the_step_itself_are_neither_lost_nor_doubled(tmp_path):
    """The checkpoint was taken before the epoch's row of its step; after the run a test was logged there too."""
    first = logged(CSVLogger(tmp_path, version=0), 3)
    state = first.state_dict()
    logged(first, 3, name="loss_epoch")
    logged(first, 3, name="test_loss")
    again = continued(tmp_path, 3, state)
    assert len(rows(again)) == 3
    logged(again, 3, name="loss_epoch")
    logged(again, 4)
    found = [next(name for name in row if name != "step") for row in rows(again)]
    assert found == ["loss", "test_loss", "loss_epoch", "loss"]


def test_rows_of_batches_of_one_validation_give_way_one_by_one(tmp_path):
    """The checkpoint was taken after two of three batches of a validation, which is done over."""
    logged(CSVLogger(tmp_path, version=0), 3, name="v_step")
    first = logged(CSVLogger(tmp_path, version=0), 3)
    logged(first, 3, 3, name="v_step")
    state = first.state_dict()
    logged(first, 3, name="v_step")
    logged(first, 3, name="v_epoch")
    again = continued(tmp_path, 3, state)
    logged(again, 3, 3, 3, name="v_step")
    logged(again, 3, name="v_epoch")
    found = [next(name for name in row if name != "step") for row in rows(again)]
    assert found == ["v_step", "loss", "v_step", "v_step", "v_step", "v_epoch"]


def test_rows_that_are_another_runs_stay(tmp_path):
    logged(CSVLogger(tmp_path, version=0), 10, 20)
    first = logged(CSVLogger(tmp_path, version=0), 1, 2)
    state = first.state_dict()
    logged(first, 3)
    logged(CSVLogger(tmp_path, version=0), 1, 5)
    again = logged(continued(tmp_path, 2, state), 3)
    assert steps(again) == [10, 20, 1, 2, 1, 5, 3]


def test_rows_without_a_step_and_columns_stay(tmp_path):
    first = logged(CSVLogger(tmp_path, version=0), 1)
    state = first.state_dict()
    first.log_metrics({"new": 1.0}, 2)
    first.log_metrics({"hp": 1.0})
    first.save()
    again = logged(continued(tmp_path, 1, state), 2)
    assert rows(again) == [{"step": "1", "loss": "1.0"}, {"hp": "1.0"}, {"step": "2", "loss": "2.0"}]


def test_in_another_directory_nothing_is_dropped(tmp_path):
    first = logged(CSVLogger(tmp_path, version=0), 1, 2)
    other = logged(CSVLogger(tmp_path, version=1), 1, 2, 3)
    other.rewind(1, first.state_dict())
    with pytest.warns(UserWarning, match="version_0 holds what another run has logged"):
        again = continued(tmp_path, 1, {})
    assert (steps(other), steps(again)) == ([1, 2, 3], [1, 2])


def test_a_url_is_rewound_too():
    import fsspec

    fs = fsspec.filesystem("memory")
    try:
        first = logged(CSVLogger("memory://functrain-rewind", version=0), 1, 2)
        state = first.state_dict()
        logged(first, 3)
        again = CSVLogger("memory://functrain-rewind", version=0)
        again.rewind(2, state)
        logged(again, 3, 4)
        text = fs.cat_file("/functrain-rewind/lightning_logs/version_0/metrics.csv").decode()
        assert text == "step,loss\n1,1.0\n2,2.0\n3,3.0\n4,4.0\n"
    finally:
        fs.rm("/functrain-rewind", recursive=True)


def test_a_collection_rewinds_each(tmp_path):
    def both() -> LoggerCollection:
        return LoggerCollection([CSVLogger(tmp_path, "a", version=0), CSVLogger(tmp_path, "b", version=0)])

    first = logged(both(), 1, 2)
    state = first.state_dict()
    logged(first, 3)
    again = both()
    again.rewind(2, state)
    logged(again, 3)
    assert [steps(logger) for logger in again] == [[1, 2, 3], [1, 2, 3]]


# ---- TensorBoard


def shown(logger: Any) -> dict[str, list[tuple[int, float]]]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(logger.log_dir), size_guidance={"scalars": 0, "images": 0}).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_shows_each_step_once(tmp_path):
    first = logged(TensorBoardLogger(tmp_path, version=0), 1, 2, 3)
    state = first.state_dict()
    logged(first, 3, name="loss_epoch")
    logged(first, 3, name="test_loss")
    logged(first, 4, 5)
    again = TensorBoardLogger(tmp_path, version=0)
    again.rewind(3, state)
    assert shown(again)["loss"] == [(1, 1.0), (2, 2.0), (3, 3.0)], "at once, before anything is logged"
    logged(again, 3, name="loss_epoch")
    logged(again, 4, 5)
    assert shown(again) == {
        "loss": [(step, float(step)) for step in range(1, 6)],
        "loss_epoch": [(3, 3.0)],
        "test_loss": [(3, 3.0)],
    }


def test_tensorboard_elsewhere_starts_with_its_own_steps(tmp_path):
    first = logged(TensorBoardLogger(tmp_path, version=0), 1, 2)
    other = logged(TensorBoardLogger(tmp_path, version=1), 1, 2, 3)
    other.rewind(1, first.state_dict())
    assert [step for step, _ in shown(other)["loss"]] == [1, 2, 3]


# ---- whole runs


class Stepping(Scripted):
    """Its validations have rows of their single steps too."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self.log("each", float(batch_idx), on_step=True, on_epoch=True)


@pytest.mark.parametrize("world", ["torch", "torch with validation steps", "jax"])
def test_a_resumed_run_logs_each_step_once(tmp_path, world):
    """From every checkpoint of a run, in its own version directory: the files are those of a run that never ended."""

    def run(directory: Path, epochs: int, ckpt_path: str | None = None) -> list[Any]:
        loggers = [CSVLogger(directory, version=0), TensorBoardLogger(directory, "tb", version=0)]
        save = pl.callbacks.ModelCheckpoint(directory / "kept", every_n_train_steps=1, save_top_k=-1)
        flags = {
            "logger": loggers, "callbacks": [save], "max_epochs": epochs, "log_every_n_steps": 1,
            "progress_bar_refresh_rate": 0, "weights_summary": None, "num_sanity_val_steps": 0,
        }  # fmt: skip
        if world != "jax":
            trainer = pl.Trainer(**flags)
            kind = Scripted if world == "torch" else Stepping
            fit(trainer, kind(by_epoch(0.5, 0.4, 0.3)), ckpt_path=ckpt_path)
        else:
            import functrain_jax as ft

            trainer = ft.Trainer(**flags)
            trainer.fit(Line(), Loader(), Loader(), ckpt_path=ckpt_path)
        return loggers

    whole_csv, whole_tb = run(tmp_path / "whole", 2)
    whole = sorted(map(sorted, (row.items() for row in rows(whole_csv))))
    # The number of the epoch comes with every row, and there are several of a step.
    whole_shown = {**shown(whole_tb), "epoch": sorted({*shown(whole_tb)["epoch"]})}
    for path in sorted((tmp_path / "whole" / "kept").iterdir()):
        found_csv, found_tb = run(tmp_path / "whole", 2, str(path))
        assert sorted(map(sorted, (row.items() for row in rows(found_csv)))) == whole, path
        found = {tag: sorted(each) for tag, each in shown(found_tb).items()}
        assert {**found, "epoch": sorted({*found["epoch"]})} == whole_shown, path


def test_a_row_logged_before_a_checkpoint_survives_a_kill_right_after_it(tmp_path):
    code = """
        import os, signal, sys
        import functrain_torch as pl
        from functrain.loggers import CSVLogger
        from tests.callbacks.helpers import Scripted, by_epoch, fit

        class Kills(CSVLogger):
            def after_save_checkpoint(self, path):
                os.kill(os.getpid(), signal.SIGKILL)

        class Logs(Scripted):
            def training_step(self, batch, batch_idx):
                loss = super().training_step(batch, batch_idx)
                self.log("step_loss", loss)
                return loss

        save = pl.callbacks.ModelCheckpoint(sys.argv[1] + "/kept", every_n_train_steps=3)
        trainer = pl.Trainer(
            max_epochs=1, logger=Kills(sys.argv[1], version=0), log_every_n_steps=1, callbacks=[save],
            progress_bar_refresh_rate=0, weights_summary=None, num_sanity_val_steps=0,
        )
        fit(trainer, Logs(by_epoch(0.5)))
    """
    path = os.pathsep.join([str(ROOT), str(ROOT / "adapters")])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path}, cwd=tmp_path, timeout=120,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    assert [name for name in os.listdir(tmp_path / "kept") if not name.startswith(".")] == ["epoch=0-step=3.ckpt"]
    # The run goes on while the checkpoint is written; those of later steps may be there too.
    assert steps(CSVLogger(tmp_path, version=0))[:3] == [1, 2, 3]


def test_a_logger_of_ones_own_may_leave_it_be_or_take_part(tmp_path):
    told = []

    class Plain(Logger):
        name = version = "plain"  # type: ignore[assignment]

        def log_metrics(self, metrics: Any, step: int | None = None) -> None: ...

        def log_hyperparams(self, params: Any, metrics: Any = None) -> None: ...

    class Takes(Plain):
        def state_dict(self) -> dict[str, Any]:
            return {"mine": 7}

        def rewind(self, step: int, state: Any) -> None:
            told.append((step, dict(state)))

    def trainer(epochs: int) -> pl.Trainer:
        return pl.Trainer(
            max_epochs=epochs, logger=[Plain(), Takes()], callbacks=[pl.callbacks.ModelCheckpoint(tmp_path)],
            progress_bar_refresh_rate=0, weights_summary=None, num_sanity_val_steps=0,
        )  # fmt: skip

    first = fit(trainer(1), Scripted(by_epoch(0.5, 0.4)))
    fit(trainer(2), Scripted(by_epoch(0.5, 0.4)), ckpt_path=first.checkpoint_callback.best_model_path)
    assert told == [(4, {"mine": 7})]
