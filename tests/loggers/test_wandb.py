"""WandbLogger against the real client, offline: what it wrote is read back from the run's own file."""

from __future__ import annotations

import copy
import json
import pickle
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import wandb
from wandb.proto import wandb_internal_pb2

import functrain_torch as pl
from functrain.callbacks import ModelCheckpoint
from functrain.loggers import WandbLogger
from functrain.trainer.errors import ConfigurationError
from tests.loggers.runs import Net, batches, fitted


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    yield
    wandb.finish()


def blocks(data: bytes) -> Iterator[bytes]:
    """The records of a file in LevelDB's log format: blocks of 32 KiB, records in parts, each after a head of 7."""
    whole, place = b"", 7  # wandb's own head stands first
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield whole
            whole = b""


def records(logger: WandbLogger) -> list[Any]:
    """What a finished run wrote."""
    wandb.finish()
    (path,) = Path(logger.save_dir or ".").glob(f"wandb/offline-run-*-{logger.version}/*.wandb")
    last, end = "", time.monotonic() + 30
    found: list[Any] = []
    while last != "exit" and time.monotonic() < end:  # a process of wandb's own writes it
        time.sleep(0.02)
        found = [wandb_internal_pb2.Record.FromString(data) for data in blocks(path.read_bytes())]
        last = found[-1].WhichOneof("record_type") if found else ""
    assert last == "exit"
    return found


def item_name(item: Any) -> str:
    return item.key or "/".join(item.nested_key)


def rows(found: list[Any]) -> list[dict[str, Any]]:
    """The rows of the history."""
    return [
        {name: json.loads(item.value_json) for item in record.history.item if (name := item_name(item))[0] != "_"}
        for record in found
        if record.WhichOneof("record_type") == "history"
    ]


def config(found: list[Any]) -> dict[str, Any]:
    updates = [item for r in found for part in (r.config, r.run.config) for item in part.update]
    return {item_name(item): json.loads(item.value_json) for item in updates if not item_name(item).startswith("_")}


def offline(tmp_path: Path, **given: Any) -> WandbLogger:
    return WandbLogger(save_dir=tmp_path, offline=True, project="mine", **given)


def test_numbers_of_steps(tmp_path):
    logger = offline(tmp_path, name="shown")
    logger.log_metrics({"loss": 0.5, "epoch": 0}, step=3)
    logger.log_metrics({"loss": np.float32(0.25), "inner": {"a": 1}}, step=7)
    logger.log_metrics({"plain": 2})
    found = records(logger)
    assert rows(found) == [
        {"loss": 0.5, "epoch": 0, "trainer/global_step": 3},
        {"loss": 0.25, "inner/a": 1, "trainer/global_step": 7},
        {"plain": 2, "trainer/global_step": 7},  # wandb repeats the last one
    ]
    (run,) = [record.run for record in found if record.WhichOneof("record_type") == "run"]
    assert (run.display_name, run.project, run.run_id) == ("shown", "mine", logger.version)
    metrics = [record.metric for record in found if record.WhichOneof("record_type") == "metric"]
    assert {(m.name or m.glob_name, m.step_metric) for m in metrics} >= {("*", "trainer/global_step")}


def test_a_prefix(tmp_path):
    logger = offline(tmp_path, prefix="run")
    logger.log_metrics({"loss": 0.5}, 1)
    assert rows(records(logger)) == [{"run-loss": 0.5, "trainer/global_step": 1}]


def test_hyperparameters(tmp_path):
    logger = offline(tmp_path)
    logger.log_hyperparams({"lr": 0.1, "layers": [1, 2], "net": {"act": "relu"}, "where": Path("a"), "loss": len})
    logger.log_hyperparams(SimpleNamespace(lr=0.2).__dict__, {"acc": 0.5})
    found = records(logger)
    told = config(found)
    assert (told["lr"], told["layers"], told["net"], told["where"]) == (0.2, [1, 2], {"act": "relu"}, "a")
    assert "built-in function len" in told["loss"]
    assert [row["acc"] for row in rows(found)] == [0.5]


def test_media(tmp_path):
    logger = offline(tmp_path)
    logger.log_text("texts", columns=["a", "b"], data=[["x", "y"]], step=2)
    logger.log_image("images", [np.zeros((4, 4, 3), np.uint8)] * 2, caption=["one", "two"])
    texts, images = rows(records(logger))
    assert (texts["texts/nrows"], texts["texts/ncols"], texts["trainer/global_step"]) == (1, 2, 2)
    assert images["images/captions"] == ["one", "two"]
    with pytest.raises(TypeError, match="images is a ndarray; give a list"):
        logger.log_image("images", np.zeros((2, 2)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="there are 1 images, and caption has 2 values"):
        logger.log_image("images", [np.zeros((2, 2))], caption=["a", "b"])


def test_a_fit_and_a_test_are_one_run(tmp_path):
    logger = offline(tmp_path)
    trainer, net = fitted(logger)
    trainer.test(net, batches(2), verbose=False)
    found = rows(records(logger))
    losses = [row for row in found if "loss" in row]
    assert [row["trainer/global_step"] for row in losses] == [2, 4, 6, 8]
    assert losses[-1]["loss"] == pytest.approx(float(trainer.callback_metrics["loss"]))
    assert [row["trainer/global_step"] for row in found if "val" in row] == [4, 8]
    assert [row["trainer/global_step"] for row in found if "test" in row] == [8]
    assert trainer.log_dir == f"{tmp_path}/mine/{logger.version}"


def test_hyperparameters_of_the_module(tmp_path):
    logger = offline(tmp_path)
    fitted(logger)
    assert config(records(logger))["width"] == 3


def test_nothing_is_begun_before_something_is_written(tmp_path):
    logger = offline(tmp_path)
    assert len(logger.version) == 8
    assert (logger.name, logger.save_dir) == ("mine", str(tmp_path))
    logger.save()
    logger.finalize("success")
    assert wandb.run is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("through", [copy.deepcopy, lambda logger: pickle.loads(pickle.dumps(logger))])
def test_a_copy_writes_to_the_same_run(through, tmp_path):
    logger = offline(tmp_path)
    logger.log_metrics({"a": 1}, 0)
    other = through(logger)
    other.log_metrics({"b": 2}, 1)
    assert other.version == logger.version
    assert [set(row) - {"trainer/global_step"} for row in rows(records(logger))] == [{"a"}, {"b"}]


def test_a_run_that_is_under_way_is_written_to(tmp_path):
    run = wandb.init(dir=str(tmp_path), mode="offline", project="theirs")
    logger = offline(tmp_path)
    with pytest.warns(UserWarning, match=rf"a run of wandb is under way, .*\({run.id}\), and is written to"):
        assert logger.experiment is run
    assert logger.version == run.id
    given = WandbLogger(experiment=run, save_dir=tmp_path)
    assert given.experiment is run
    assert given.version == run.id


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"offline": True, "log_model": True}, "checkpoints cannot be uploaded offline"),
        ({"id": "a", "version": "b"}, "two names of one argument"),
        ({"log_model": "some"}, r"WandbLogger\(log_model='some'\): must be True, False or 'all'"),
        ({"agg_default_func": np.mean}, "loggers do not put metrics together"),
    ],
)
def test_impossible_arguments(given, says):
    with pytest.raises(ConfigurationError, match=says):
        WandbLogger(**given)


class Recorded(WandbLogger):
    """Says what would be uploaded, which needs a server."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.uploaded: list[tuple[str, list[str], dict[str, Any], list[str]]] = []

    @property
    def experiment(self) -> Any:
        return SimpleNamespace(
            log_artifact=lambda made, aliases: self.uploaded.append(
                (made.name, list(aliases), dict(made.metadata), sorted(made.manifest.entries))
            ),
            log=lambda values: None,
            config=SimpleNamespace(update=lambda *args, **kwargs: None),
        )


@pytest.mark.parametrize(
    ("log_model", "aliases"), [(False, []), (True, [["latest", "best"]]), ("all", [["latest", "best"]] * 2)]
)
def test_checkpoints_are_uploaded(log_model, aliases, tmp_path):
    logger = Recorded(save_dir=tmp_path, project="mine", log_model=log_model, id="abc")
    fitted(logger, ModelCheckpoint(tmp_path / "kept", monitor="val", filename="{epoch}", mode="min"))
    assert [each[1] for each in logger.uploaded] == aliases
    for name, _, told, entries in logger.uploaded:
        assert name == "model-abc"
        assert told["original_filename"].startswith("epoch=")
        assert isinstance(told["score"], float)
        assert entries == ["model.ckpt"]


def test_checkpoints_of_jax_are_directories(tmp_path):
    (tmp_path / "a.ckpt").mkdir()
    (tmp_path / "a.ckpt" / "inside").write_text("x")
    logger = Recorded(save_dir=tmp_path, project="mine", log_model="all", id="abc")
    saver = ModelCheckpoint(tmp_path)
    saver.__class__ = type("Saver", (ModelCheckpoint,), {"best_model_path": str(tmp_path / "a.ckpt")})
    logger.after_save_checkpoint(saver)
    assert [each[3] for each in logger.uploaded] == [["model.ckpt/inside"]]


def test_the_gradients_of_a_module_are_watched(tmp_path):
    logger = offline(tmp_path)
    net = Net()
    logger.watch(net, log_freq=1, log_graph=False)
    pl.Trainer(
        logger=logger, max_epochs=1, progress_bar_refresh_rate=0, weights_summary=None, log_every_n_steps=1,
        checkpoint_callback=False,
    ).fit(net, batches(2))  # fmt: skip
    watched = [name for row in rows(records(logger)) for name in row if name.startswith("gradients/layer.weight")]
    assert watched
