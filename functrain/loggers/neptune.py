"""Metrics, hyperparameters and checkpoints for Neptune. Imports neptune at the first use."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from functrain import files
from functrain.loggers.base import numbers
from functrain.loggers.client import ClientLogger, plain_hyperparams
from functrain.trainer.callback import Checkpoint
from functrain.trainer.errors import ConfigurationError


class NeptuneLogger(ClientLogger):
    """Writes to a run of Neptune (its client from 1.0 on), which is made at the first use, and goes on until
    `logger.experiment.stop()` or the end of the program.

    Args:
        api_key: default: the variable NEPTUNE_API_TOKEN.
        project: 'workspace/project'; default: the variable NEPTUNE_PROJECT.
        name: of the run, to be shown.
        run: a run that `neptune.init_run` has returned.
        log_model_checkpoints: upload the checkpoints of the ModelCheckpoints when they are saved.
        prefix: the namespace that all is written into.
        agg_key_funcs, agg_default_func: not available; must be None.
        neptune_run_kwargs: further arguments of `neptune.init_run`, such as `tags`, `mode`, `with_id`.

    Raises:
        ConfigurationError: neptune is not installed, or a `run` together with what makes one.
    """

    PACKAGE: ClassVar[str] = "neptune"
    INSTALL: ClassVar[str] = "neptune"
    LOGGER_JOIN_CHAR: ClassVar[str] = "/"
    PARAMETERS_KEY: ClassVar[str] = "hyperparams"
    ARTIFACTS_KEY: ClassVar[str] = "artifacts"

    def __init__(
        self,
        *,
        api_key: str | None = None,
        project: str | None = None,
        name: str | None = None,
        run: Any = None,
        log_model_checkpoints: bool = True,
        prefix: str = "training",
        agg_key_funcs: None = None,
        agg_default_func: None = None,
        **neptune_run_kwargs: Any,
    ) -> None:
        super().__init__(prefix, agg_key_funcs, agg_default_func)
        options = {"api_token": api_key, "project": project, "name": name, **neptune_run_kwargs}
        self._options = {key: value for key, value in options.items() if value is not None}
        if run is not None and self._options:
            raise ConfigurationError(
                f"NeptuneLogger(run=..., {', '.join(f'{key}=...' for key in self._options)}): the run is made already; "
                "give either it, or what makes one."
            )
        self._experiment = run
        self._name = name
        self._log_model_checkpoints = log_model_checkpoints
        self._id: str | None = None
        self._steps: dict[str, int] = {}
        self._models: set[str] = set()

    def _connect(self, library: ModuleType) -> Any:
        # A copy, or another process, goes on with the run.
        options = self._options if self._id is None else {**self._options, "with_id": self._id}
        return library.init_run(**options)

    @property
    def run(self) -> Any:
        """Neptune's run: `logger.run["any/place"] = value`."""
        return self.experiment

    @property
    def name(self) -> str:
        """The run's name to be shown."""
        return self._name or ""

    @property
    def version(self) -> str:
        """The run's id, which it has from its beginning on: it is made now where it is not there yet."""
        if self._id is None and self._writes:
            self._id = self.experiment["sys/id"].fetch()
        return self._id or ""

    def _take_version(self, version: Any) -> None:
        self._id = version

    @property
    def save_dir(self) -> str:
        """The directory of Neptune's own files."""
        return os.path.join(os.getcwd(), ".neptune")

    @property
    def log_dir(self) -> str:
        """The directory for further files of this run."""
        return os.path.join(self.save_dir, self.version)

    def _place(self, *keys: str) -> str:
        return "/".join([self._prefix, *keys] if self._prefix else keys)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add numbers to their series. Neptune's steps only grow: a number of a step that its series has already comes
        after it, without one.

        Raises:
            TypeError: a value is no number. The message names it.
        """
        if not self._writes:
            return
        for name, value in numbers(metrics).items():
            self.log_metric(name, value, step)

    def log_metric(self, metric_name: str, metric_value: float, step: int | None = None) -> None:
        """Add a number to its series."""
        place = self._place(metric_name)
        grows = step is not None and step > self._steps.get(place, -1)
        self._steps[place] = self._steps.get(place, -1) + 1 if step is None or not grows else step
        self.experiment[place].append(metric_value, **({"step": step} if grows else {}))

    def log_hyperparams(self, params: Any, metrics: Mapping[str, float] | float | None = None) -> None:
        """Record hyperparameters in the namespace `hyperparams`. `metrics`, where given, are logged."""
        if not self._writes:
            return
        self.experiment[self._place(self.PARAMETERS_KEY)] = plain_hyperparams(params)
        if metrics is not None:
            self.log_metrics(metrics if isinstance(metrics, Mapping) else {"hp_metric": metrics})

    def log_text(self, log_name: str, text: str, step: int | None = None) -> None:
        """Add a text to a series."""
        self.experiment[self._place(log_name)].append(text, **({} if step is None else {"step": step}))

    def log_image(self, log_name: str, image: Any, step: int | None = None) -> None:
        """Add an image to a series: one of PIL, a figure, a neptune.types.File."""
        self.experiment[self._place(log_name)].append(image, **({} if step is None else {"step": step}))

    def log_artifact(self, artifact: str | os.PathLike[str], destination: str | None = None) -> None:
        """Upload a file."""
        name = destination or os.path.basename(os.fspath(artifact))
        self.experiment[self._place(self.ARTIFACTS_KEY, name)].upload(os.fspath(artifact))

    def set_property(self, key: str, value: Any) -> None:
        """Record a value by its name."""
        self.experiment[self._place("properties", key)] = value

    def append_tags(self, *tags: str) -> None:
        """Add tags to the run."""
        self.experiment["sys/tags"].add(list(tags))

    def log_model_summary(self, model: Any, max_depth: int = -1) -> None:
        """Record the module's structure, as it prints itself."""
        if self._writes:
            text = self.library("types").File.from_content(str(model), extension="txt")
            self.experiment[self._place("model/summary")].upload(text)

    def after_save_checkpoint(self, checkpoint_callback: Checkpoint) -> None:
        """A ModelCheckpoint has saved: upload what is new, remove what it has removed, and tell the best."""
        if not self._log_model_checkpoints or not self._writes:
            return
        best, last = checkpoint_callback.best_model_path, checkpoint_callback.last_model_path
        kept = {path for path in (*checkpoint_callback.kept(), best, last) if path and files.exists(path)}
        places = {self._place("model/checkpoints", Path(path).stem): path for path in kept}
        for place in self._models - set(places):
            del self.experiment[place]
        for place, path in places.items():
            if place not in self._models or path == last:
                upload = "upload_files" if files.is_dir(path) else "upload"
                getattr(self.experiment[place], upload)(path)
        self._models = set(places)
        if best:
            self.experiment[self._place("model/best_model_path")] = best
            if checkpoint_callback.best_model_score is not None:
                self.experiment[self._place("model/best_model_score")] = checkpoint_callback.best_model_score

    def save(self) -> None:
        """Nothing is held back here: Neptune writes beside the run."""

    def finalize(self, status: str) -> None:
        """A run of the Trainer is over: record how. Neptune's run goes on."""
        if self._experiment is not None:
            self._experiment[self._place("status")] = status
            self._experiment.sync()
