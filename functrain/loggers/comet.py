"""Metrics, hyperparameters and graphs for Comet. Imports comet_ml at the first use."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import ModuleType
from typing import Any, ClassVar

from functrain import files
from functrain.loggers.base import numbers
from functrain.loggers.client import ClientLogger, flat, plain_hyperparams
from functrain.trainer.errors import ConfigurationError


class CometLogger(ClientLogger):
    """Writes to an experiment of Comet, which is made at the first use. It ends with each run of the Trainer; the next
    one, such as a test after a fit, goes on with it.

    Args:
        api_key: default: the variable COMET_API_KEY, else Comet's own configuration. With one, and without `offline`,
            it is written online.
        save_dir: a local directory, for an experiment that `comet upload` uploads later.
        project_name: default: Comet's own.
        rest_api_key: for `comet_api`, Comet's REST API.
        experiment_name: to be shown.
        experiment_key: of an earlier experiment, which goes on.
        offline: write into `save_dir`, although there is a key.
        prefix: put in front of every metric's name, with a `-`.
        agg_key_funcs, agg_default_func: not available; must be None.
        kwargs: further arguments of Comet's Experiment, such as `workspace`, `log_code`.

    Raises:
        ConfigurationError: comet_ml is not installed, or `offline` without a `save_dir`.
    """

    PACKAGE: ClassVar[str] = "comet_ml"
    INSTALL: ClassVar[str] = "comet-ml"

    def __init__(
        self,
        api_key: str | None = None,
        save_dir: str | os.PathLike[str] | None = None,
        project_name: str | None = None,
        rest_api_key: str | None = None,
        experiment_name: str | None = None,
        experiment_key: str | None = None,
        offline: bool = False,
        prefix: str = "",
        agg_key_funcs: None = None,
        agg_default_func: None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(prefix, agg_key_funcs, agg_default_func)
        if offline and save_dir is None:
            raise ConfigurationError("CometLogger(offline=True): needs a directory to write into; give save_dir=...")
        self.rest_api_key = rest_api_key
        self._api_key = api_key or os.environ.get("COMET_API_KEY")
        self._save_dir = None if save_dir is None else os.path.expanduser(os.fspath(save_dir))
        self._project_name = project_name
        self._experiment_name = experiment_name
        self._key = experiment_key or os.environ.get("COMET_EXPERIMENT_KEY")
        self._is_known = experiment_key is not None
        self._offline = offline
        self._options = kwargs

    def _connect(self, library: ModuleType) -> Any:
        key = None if self._offline else self._api_key
        if key is None and self._save_dir is None:
            key = self.library("config").get_api_key(None, self.library("config").get_config())
        if key is not None:
            experiment = self._online(library, key)
        elif self._save_dir is not None:
            experiment = self._into_files(library, self._save_dir)
        else:
            raise ConfigurationError(
                "CometLogger: there is neither a key to write online nor a directory to write into; give api_key=... "
                "(or set COMET_API_KEY), or save_dir=..."
            )
        if not self._is_known:
            self._is_known, self._key = True, experiment.get_key()
            experiment.log_other("Created from", "functrain")
        if self._experiment_name:
            experiment.set_name(self._experiment_name)
        return experiment

    def _online(self, library: ModuleType, api_key: str) -> Any:
        given = {"api_key": api_key, "project_name": self._project_name, **self._options}
        if self._is_known:
            return library.ExistingExperiment(previous_experiment=self._key, **given)
        return library.Experiment(**given, **({"experiment_key": self._key} if self._key else {}))

    def _into_files(self, library: ModuleType, directory: str) -> Any:
        files.ensure_directory(directory)
        given = {"offline_directory": directory, "project_name": self._project_name, **self._options}
        if self._is_known:
            return library.ExistingOfflineExperiment(previous_experiment=self._key, **given)
        return library.OfflineExperiment(**given, **({"experiment_key": self._key} if self._key else {}))

    @property
    def comet_api(self) -> Any:
        """Comet's REST API, by `rest_api_key`."""
        return self.library("api").API(self.rest_api_key)

    @property
    def name(self) -> str:
        """The project."""
        return self._project_name or os.environ.get("COMET_PROJECT_NAME") or "comet-default"

    @property
    def version(self) -> str:
        """The experiment's key, which it has from its beginning on: it is made now where it is not there yet."""
        if self._key is None and self._writes:
            self._key = self.experiment.get_key()
        return self._key or ""

    def _take_version(self, version: Any) -> None:
        self._key = version

    @property
    def save_dir(self) -> str | None:
        """The directory of experiments that are written into files."""
        return self._save_dir

    @property
    def log_dir(self) -> str | None:
        """The directory for further files of this experiment; None without a `save_dir`."""
        return None if self._save_dir is None else files.join(self._save_dir, self.name, self.version)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers of one step; 'epoch' is told as the epoch.

        Raises:
            TypeError: a value is no number. The message names it.
        """
        if self._writes:
            values = numbers(metrics)
            epoch = values.pop("epoch", None)
            self.experiment.log_metrics(self._named(values), step=step, epoch=None if epoch is None else int(epoch))

    def log_hyperparams(self, params: Any, metrics: Mapping[str, float] | float | None = None) -> None:
        """Record parameters, nested ones as `outer/inner`. `metrics`, where given, are logged."""
        if not self._writes:
            return
        self.experiment.log_parameters(flat(plain_hyperparams(params)))
        if metrics is not None:
            self.log_metrics(metrics if isinstance(metrics, Mapping) else {"hp_metric": metrics})

    def log_graph(self, model: Any, input_array: Any = None) -> None:
        """Record the module's structure, as it prints itself."""
        if self._writes:
            self.experiment.set_model_graph(model)

    def reset_experiment(self) -> None:
        """Let go of Comet's object; the next use goes on with the same experiment."""
        self._experiment = None

    def finalize(self, status: str) -> None:
        """A run of the Trainer is over: end Comet's object, which writes what it holds back."""
        if self._experiment is not None:
            self._experiment.end()
            self.reset_experiment()
