"""Metrics, hyperparameters and checkpoints for MLflow. Imports mlflow at the first use."""

from __future__ import annotations

import json
import os
import re
import tempfile
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import time
from types import ModuleType
from typing import Any, ClassVar

from functrain import files
from functrain.loggers.base import numbers
from functrain.loggers.client import ClientLogger, flat, plain_hyperparams
from functrain.loggers.saved import LogModel, Saved, Uploads, metadata
from functrain.trainer.callback import Checkpoint

LOCAL = "file:"
STATUS = {"success": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
LONGEST = 6000
"""MLflow keeps so many letters of a parameter's value."""
CHUNK = 100
"""MLflow takes so many parameters at once."""


class MLFlowLogger(ClientLogger):
    """Writes to a run of MLflow, which is made at the first use.

    Args:
        experiment_name: the experiment, made where it is missing.
        run_name: of the run, to be shown.
        tracking_uri: of a server or a store, such as 'sqlite:///mlflow.db' (which needs the package mlflow; for others
            mlflow-skinny is enough); default: the variable MLFLOW_TRACKING_URI, else files in `save_dir`.
        tags: of the run.
        save_dir: a local directory, where no `tracking_uri` is given.
        prefix: put in front of every metric's name, with a `-`.
        artifact_location: where files of the experiment go; default: the store's own place.
        run_id: of an earlier run, which goes on.
        log_model: upload the checkpoints of the ModelCheckpoints: 'all' when they are saved, True those that are left
            at the end of the fit.
        synchronous: False: MLflow may write later.

    Raises:
        ConfigurationError: mlflow is not installed.
    """

    PACKAGE: ClassVar[str] = "mlflow"
    INSTALL: ClassVar[str] = "mlflow"

    def __init__(
        self,
        experiment_name: str = "lightning_logs",
        run_name: str | None = None,
        tracking_uri: str | None = None,
        tags: Mapping[str, Any] | None = None,
        save_dir: str | os.PathLike[str] | None = "./mlruns",
        prefix: str = "",
        artifact_location: str | None = None,
        run_id: str | None = None,
        log_model: LogModel = False,
        synchronous: bool | None = None,
    ) -> None:
        super().__init__(prefix)
        uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        self._tracking_uri = uri or f"{LOCAL}{os.path.expanduser(os.fspath(save_dir or './mlruns'))}"
        self._experiment_name = experiment_name
        self._experiment_id: str | None = None
        self._run_name = run_name
        self._run_id = run_id
        self.tags = dict(tags or {})
        self._artifact_location = artifact_location
        self._uploads = Uploads(log_model, "MLFlowLogger")
        self._options = {} if synchronous is None else {"synchronous": synchronous}
        self._renamed: set[str] = set()
        self._params: dict[str, str] = {}

    def _connect(self, library: ModuleType) -> Any:
        with _file_store_allowed():
            client = self.library("tracking").MlflowClient(self._tracking_uri)
        if self._run_id is not None:
            self._experiment_id = client.get_run(self._run_id).info.experiment_id
            return client
        found = client.get_experiment_by_name(self._experiment_name)
        if found is not None and found.lifecycle_stage != "deleted":
            self._experiment_id = found.experiment_id
        else:
            self._experiment_id = client.create_experiment(self._experiment_name, self._artifact_location)
        tags = self.library("tracking.context.registry").resolve_tags(self.tags)
        self._run_id = client.create_run(self._experiment_id, tags=tags, run_name=self._run_name).info.run_id
        return client

    @property
    def run_id(self) -> str | None:
        """The run, which is made now where it is not there yet."""
        if self._run_id is None and self._writes:
            _ = self.experiment
        return self._run_id

    @property
    def experiment_id(self) -> str | None:
        """The experiment, which is made now where it is not there yet."""
        if self._experiment_id is None and self._writes:
            _ = self.experiment
        return self._experiment_id

    @property
    def name(self) -> str:
        """The experiment's id."""
        return self.experiment_id or ""

    @property
    def version(self) -> str:
        """The run's id."""
        return self.run_id or ""

    def _take_version(self, version: Any) -> None:
        self._run_id = version

    @property
    def save_dir(self) -> str | None:
        """The directory of the store, where it is one of files."""
        uri = self._tracking_uri
        return uri.removeprefix(LOCAL).removeprefix("//") if uri.startswith(LOCAL) else None

    @property
    def log_dir(self) -> str | None:
        """The directory of this run, where the store is one of files."""
        return None if self.save_dir is None else files.join(self.save_dir, self.name, self.version)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers of one step.

        Raises:
            TypeError: a value is no number. The message names it.
        """
        if not self._writes:
            return
        metric, now = self.library("entities").Metric, int(time() * 1000)
        values = self._named(numbers(metrics))
        made = [metric(self._allowed(name), float(value), now, step or 0) for name, value in values.items()]
        self.experiment.log_batch(run_id=self.run_id, metrics=made, **self._options)

    def _allowed(self, name: str) -> str:
        """Return a metric's name in the letters that MLflow takes, and say it once where it is another."""
        allowed = re.sub(r"[^\w/. :-]", "_", name, flags=re.ASCII)
        if allowed != name and name not in self._renamed:
            self._renamed.add(name)
            warnings.warn(
                f"MLFlowLogger: MLflow takes letters, digits and _/.-: alone in names, so {name!r} is "
                f"written as {allowed!r}.",
                UserWarning,
                stacklevel=4,
            )
        return allowed

    def log_hyperparams(self, params: Any, metrics: Mapping[str, float] | float | None = None) -> None:
        """Record parameters, nested ones as `outer/inner`; MLflow keeps texts. `metrics`, where given, are logged."""
        if not self._writes:
            return
        param = self.library("entities").Param
        made = [param(name, value) for name, value in self._new_params(flat(plain_hyperparams(params)))]
        for first in range(0, len(made), CHUNK):
            self.experiment.log_batch(run_id=self.run_id, params=made[first : first + CHUNK], **self._options)
        if metrics is not None:
            self.log_metrics(metrics if isinstance(metrics, Mapping) else {"hp_metric": metrics})

    def _new_params(self, params: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return those that are not there yet, as text, and say it where one has another value now: MLflow keeps the
        first."""
        texts = {self._allowed(name): str(value)[:LONGEST] for name, value in params.items()}
        changed = [name for name, text in texts.items() if self._params.get(name, text) != text]
        if changed:
            warnings.warn(
                f"MLFlowLogger: MLflow keeps the first value of a parameter, so in this run {', '.join(changed)} stay "
                "as they are; give each fit a logger of its own.",
                UserWarning,
                stacklevel=3,
            )
        new = [(name, text) for name, text in texts.items() if name not in self._params]
        self._params.update(new)
        return new

    def after_save_checkpoint(self, checkpoint_callback: Checkpoint) -> None:
        """A ModelCheckpoint has saved."""
        for saved in self._uploads.after_save(checkpoint_callback):
            self._upload(saved)

    def _upload(self, saved: Saved) -> None:
        place = Path(saved.path).stem
        if files.is_remote(saved.path):
            warnings.warn(
                f"MLFlowLogger(log_model=...): {saved.path!r} is not on a local disk, and is not uploaded.",
                UserWarning,
                stacklevel=2,
            )
            return
        log = self.experiment.log_artifacts if files.is_dir(saved.path) else self.experiment.log_artifact
        log(self.run_id, saved.path, place)
        with tempfile.TemporaryDirectory() as folder:
            told = {**metadata(saved), "aliases": saved.aliases}
            Path(folder, "metadata.json").write_text(json.dumps(told), encoding="utf-8")
            self.experiment.log_artifacts(self.run_id, folder, place)

    def finalize(self, status: str = "success") -> None:
        """A run of the Trainer is over: upload what is to be, and close MLflow's run. What is logged later is added.

        Args:
            status: "success", "failed", "interrupted", or a status of MLflow's.
        """
        if self._experiment is None:
            return
        if status != "failed":
            for saved in self._uploads.at_the_end():
                self._upload(saved)
        self.experiment.set_terminated(self.run_id, STATUS.get(status, status))


@contextmanager
def _file_store_allowed() -> Generator[None]:
    """Newer clients open a store of files only where this variable says so; whoever names a directory has said it."""
    name = "MLFLOW_ALLOW_FILE_STORE"
    before = os.environ.get(name)
    os.environ[name] = before or "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
