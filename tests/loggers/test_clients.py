"""Loggers whose clients need an account, or are no longer maintained: against small modules of the same interface that
stand in the place of comet_ml, neptune and test_tube; and all of them where their client is really absent."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import functrain_jax as ft
import functrain_torch as pl
from functrain import loggers
from functrain.callbacks import ModelCheckpoint
from functrain.loggers import CometLogger, MLFlowLogger, NeptuneLogger, TestTubeLogger, WandbLogger
from functrain.trainer.errors import ConfigurationError
from tests.loggers.runs import batches, fitted
from tests.structure.graph import ROOT

NEEDS = {
    CometLogger: ("comet_ml", "comet-ml", {}),
    NeptuneLogger: ("neptune", "neptune", {}),
    TestTubeLogger: ("test_tube", "test-tube", {"save_dir": "logs"}),
    WandbLogger: ("wandb", "wandb", {}),
    MLFlowLogger: ("mlflow", "mlflow", {}),
}


class Calls:
    """Notes every call of its methods."""

    def __init__(self, **given: Any) -> None:
        self.given = given
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args, **named: self.calls.append((name, *args, *([named] if named else [])))

    def of(self, name: str) -> list[tuple[Any, ...]]:
        return [call[1:] for call in self.calls if call[0] == name]


def put(monkeypatch: pytest.MonkeyPatch, name: str, **attributes: Any) -> ModuleType:
    """Have a module of these attributes stand for a package."""
    module = ModuleType(name)
    vars(module).update(attributes)
    monkeypatch.setitem(sys.modules, name, module)
    return module


# absence


@pytest.mark.parametrize("kind", NEEDS)
def test_without_its_client_a_logger_says_what_to_install(kind, monkeypatch):
    package, pip, given = NEEDS[kind]
    if find_spec(package) is not None:
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigurationError, match=rf"{kind.__name__}: needs the package {package}.*pip install {pip}`"):
        kind(**given)


def test_no_client_is_imported_before_it_is_used(tmp_path):
    program = (
        "import sys, functrain_torch as pl, functrain.loggers as loggers\n"
        "loggers.WandbLogger(offline=True, save_dir='w').version; loggers.MLFlowLogger(save_dir='m').save()\n"
        "print([name for name in ('wandb', 'mlflow', 'comet_ml', 'neptune', 'test_tube') if name in sys.modules])\n"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "adapters")])
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
        cwd=tmp_path, check=True,
    )  # fmt: skip
    assert done.stdout == "[]\n"
    assert list(tmp_path.iterdir()) == []


def test_every_logger_is_found_in_both_worlds():
    from functrain_jax.loggers import __all__ as of_jax
    from functrain_torch.loggers import __all__ as of_torch

    names = {kind.__name__ for kind in NEEDS}
    assert names <= set(of_jax) == set(loggers.__all__) == {*of_torch} - {"LightningLoggerBase"}
    for name in names:
        assert getattr(pl.loggers, name) is getattr(ft.loggers, name)


# Comet


class Comet(Calls):
    """An experiment of Comet."""

    def get_key(self) -> str:
        return self.given.get("experiment_key") or self.given.get("previous_experiment") or "new-key"


@pytest.fixture
def comet(monkeypatch) -> dict[str, list[Comet]]:
    made: dict[str, list[Comet]] = {}

    def maker(kind: str) -> Any:
        def make(**given: Any) -> Comet:
            made.setdefault(kind, []).append(Comet(**given))
            return made[kind][-1]

        return make

    kinds = ("Experiment", "ExistingExperiment", "OfflineExperiment", "ExistingOfflineExperiment")
    put(monkeypatch, "comet_ml", __path__=[], **{kind: maker(kind) for kind in kinds})
    config = SimpleNamespace(get_config=lambda: None, get_api_key=lambda given, config: made.get("configured"))
    put(monkeypatch, "comet_ml.config", **vars(config))
    put(monkeypatch, "comet_ml.api", API=lambda key: f"api of {key}")
    for name in ("COMET_API_KEY", "COMET_EXPERIMENT_KEY", "COMET_PROJECT_NAME"):
        monkeypatch.delenv(name, raising=False)
    return made


def test_comet_online(comet):
    logger = CometLogger(api_key="key", project_name="mine", experiment_name="shown", prefix="p", workspace="w")
    logger.log_hyperparams({"lr": 0.1, "net": {"act": "relu"}})
    logger.log_metrics({"loss": np.float32(0.5), "epoch": 1.0}, step=3)
    (experiment,) = comet["Experiment"]
    assert experiment.given == {"api_key": "key", "project_name": "mine", "workspace": "w"}
    assert experiment.of("set_name") == [("shown",)]
    assert experiment.of("log_parameters") == [({"lr": 0.1, "net/act": "relu"},)]
    assert experiment.of("log_metrics") == [({"p-loss": 0.5}, {"step": 3, "epoch": 1})]
    assert (logger.name, logger.version, logger.save_dir) == ("mine", "new-key", None)
    logger.log_graph("a module")
    assert experiment.of("set_model_graph") == [("a module",)]


def test_comet_fit_and_test_are_one_experiment(comet, tmp_path):
    logger = CometLogger(save_dir=tmp_path, project_name="mine")
    trainer, net = fitted(logger)
    trainer.test(net, batches(2), verbose=False)
    (first,), (second,) = comet["OfflineExperiment"], comet["ExistingOfflineExperiment"]
    assert first.given == {"offline_directory": str(tmp_path), "project_name": "mine"}
    assert second.given["previous_experiment"] == "new-key"
    assert [call[1]["step"] for call in first.of("log_metrics") if "loss" in call[0]] == [2, 4, 6, 8]
    assert [call[1]["step"] for call in second.of("log_metrics") if "test" in call[0]] == [8]
    assert first.calls[-1] == second.calls[-1] == ("end",)
    assert trainer.log_dir == f"{tmp_path}/mine/new-key"


def test_comet_goes_on_with_an_earlier_experiment(comet):
    logger = CometLogger(api_key="key", experiment_key="old")
    logger.log_metrics({"a": 1}, 0)
    assert comet["ExistingExperiment"][0].given["previous_experiment"] == "old"
    assert logger.version == "old"


def test_comet_where_there_is_neither_a_key_nor_a_directory(comet, tmp_path):
    with pytest.raises(ConfigurationError, match=r"neither a key to write online nor a directory.*COMET_API_KEY"):
        CometLogger().log_metrics({"a": 1}, 0)
    with pytest.raises(ConfigurationError, match="needs a directory to write into"):
        CometLogger(api_key="key", offline=True)
    comet["configured"] = "from the file"  # type: ignore[assignment]
    CometLogger().log_metrics({"a": 1}, 0)
    assert comet["Experiment"][0].given["api_key"] == "from the file"
    CometLogger(api_key="key", save_dir=tmp_path, offline=True).log_metrics({"a": 1}, 0)
    assert len(comet["OfflineExperiment"]) == 1
    assert CometLogger(rest_api_key="rest").comet_api == "api of rest"


# Neptune


class Series(Calls):
    """A place of a run of Neptune."""

    def fetch(self) -> str:
        return "RUN-7"


class Neptune:
    """A run of Neptune."""

    def __init__(self, **given: Any) -> None:
        self.given = given
        self.places: dict[str, Series] = {}
        self.values: dict[str, Any] = {}
        self.synced = 0

    def __getitem__(self, name: str) -> Series:
        return self.places.setdefault(name, Series())

    def __setitem__(self, name: str, value: Any) -> None:
        self.values[name] = value

    def __delitem__(self, name: str) -> None:
        del self.places[name]

    def sync(self) -> None:
        self.synced += 1


@pytest.fixture
def neptune(monkeypatch) -> list[Neptune]:
    made: list[Neptune] = []

    def init_run(**given: Any) -> Neptune:
        made.append(Neptune(**given))
        return made[-1]

    put(monkeypatch, "neptune", __path__=[], init_run=init_run)
    file = SimpleNamespace(from_content=lambda text, extension: (text, extension))
    put(monkeypatch, "neptune.types", File=file)
    return made


def test_neptune(neptune):
    logger = NeptuneLogger(api_key="key", project="a/b", name="shown", tags=["x"])
    logger.log_hyperparams({"lr": 0.1, "loss": len})
    logger.log_metrics({"loss": 0.5}, step=3)
    logger.log_metrics({"loss": 0.25, "val": 1}, step=3)
    logger.log_metrics({"loss": 0.125}, step=7)
    (run,) = neptune
    assert run.given == {"api_token": "key", "project": "a/b", "name": "shown", "tags": ["x"]}
    assert run.values["training/hyperparams"] == {"lr": 0.1, "loss": str(len)}
    assert run["training/loss"].of("append") == [(0.5, {"step": 3}), (0.25,), (0.125, {"step": 7})]
    assert run["training/val"].of("append") == [(1, {"step": 3})]
    assert (logger.name, logger.version) == ("shown", "RUN-7")
    assert logger.run is logger.experiment is run
    logger.log_model_summary("a module")
    assert run["training/model/summary"].of("upload") == [(("a module", "txt"),)]
    logger.append_tags("y", "z")
    assert run["sys/tags"].of("add") == [(["y", "z"],)]
    logger.set_property("a", 3)
    assert run.values["training/properties/a"] == 3
    logger.log_artifact("there/x.bin")
    assert run["training/artifacts/x.bin"].of("upload") == [("there/x.bin",)]


def test_neptune_fit(neptune, tmp_path):
    logger = NeptuneLogger(prefix="")
    saver = ModelCheckpoint(tmp_path, monitor="val", filename="{epoch}", mode="min", save_last=True)
    trainer, _ = fitted(logger, saver)
    (run,) = neptune
    assert [call[1]["step"] for call in run["loss"].of("append")] == [2, 4, 6, 8]
    assert set(run.places) >= {"model/checkpoints/epoch=1", "model/checkpoints/last"}
    assert "model/checkpoints/epoch=0" not in run.places  # one is kept
    assert run.values["model/best_model_path"] == saver.best_model_path
    assert run.values["model/best_model_score"] == pytest.approx(float(trainer.callback_metrics["val"]))
    assert run.values["status"] == "success"
    assert run.synced == 1


def test_neptune_takes_a_run(neptune):
    run = Neptune()
    NeptuneLogger(run=run).log_metrics({"a": 1}, 0)
    assert run["training/a"].of("append") == [(1, {"step": 0})]
    assert neptune == []
    with pytest.raises(ConfigurationError, match=r"NeptuneLogger\(run=..., project=...\): the run is made already"):
        NeptuneLogger(run=run, project="a/b")


# test-tube


class Tube(Calls):
    """An experiment of test-tube."""

    version = 4


def test_test_tube(monkeypatch, tmp_path):
    made: list[Tube] = []

    def make(**given: Any) -> Tube:
        made.append(Tube(**given))
        return made[-1]

    put(monkeypatch, "test_tube", Experiment=make)
    logger = TestTubeLogger(tmp_path, name="mine", prefix="p", log_graph=True)
    trainer, net = fitted(logger)
    first = made[0]
    assert first.given == {
        "save_dir": str(tmp_path), "name": "mine", "version": None, "description": None, "debug": False,
        "create_git_tag": False, "rank": 0,
    }  # fmt: skip
    assert [vars(call[0]) for call in first.of("argparse")] == [{"width": 3}]
    assert [call[1]["global_step"] for call in first.of("log") if "p-loss" in call[0]] == [2, 4, 6, 8]
    assert first.calls[-2:] == [("save",), ("close",)]
    trainer.test(net, batches(2), verbose=False)
    assert made[1].given["version"] == 4  # the same run goes on
    assert trainer.log_dir == f"{tmp_path}/mine/version_4"
    net.example_input_array = "an input"
    logger.log_graph(net)
    assert made[-1].of("add_graph") == [(net, "an input")]
