"""Metrics and hyperparameters for test-tube. Imports test_tube at the first use."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Mapping
from types import ModuleType
from typing import Any, ClassVar

from functrain import files
from functrain.loggers.base import numbers
from functrain.loggers.client import ClientLogger, flat, plain_hyperparams


class TestTubeLogger(ClientLogger):
    """Writes to an experiment of test-tube, in `save_dir/name/version_N`. test-tube is no longer maintained.

    Args:
        save_dir: a local directory.
        name: the experiment.
        description: of the experiment.
        debug: write nothing.
        version: the run's number; default: the next one.
        create_git_tag: test-tube tags the commit.
        log_graph: `log_graph` records the module's graph.
        prefix: put in front of every metric's name, with a `-`.

    Raises:
        ConfigurationError: test_tube is not installed.
    """

    __test__ = False  # pytest takes a class of this name for tests

    PACKAGE: ClassVar[str] = "test_tube"
    INSTALL: ClassVar[str] = "test-tube"

    def __init__(
        self,
        save_dir: str | os.PathLike[str],
        name: str = "default",
        description: str | None = None,
        debug: bool = False,
        version: int | None = None,
        create_git_tag: bool = False,
        log_graph: bool = False,
        prefix: str = "",
    ) -> None:
        super().__init__(prefix)
        self._save_dir = os.path.expanduser(os.fspath(save_dir))
        self._name = name
        self._version = version
        self._log_graph = log_graph
        self._options = {"description": description, "debug": debug, "create_git_tag": create_git_tag}

    def _connect(self, library: ModuleType) -> Any:
        given = {"save_dir": self._save_dir, "name": self._name, "version": self._version}
        experiment = library.Experiment(**given, **self._options, rank=0)
        self._version = experiment.version
        return experiment

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self._name

    @property
    def version(self) -> int | str:
        """The run's number: it is made now where it is not there yet."""
        if self._version is None and self._writes:
            self._version = self.experiment.version
        return "" if self._version is None else self._version

    def _take_version(self, version: Any) -> None:
        self._version = version

    @property
    def save_dir(self) -> str:
        """The directory of all experiments."""
        return self._save_dir

    @property
    def log_dir(self) -> str:
        """The directory of this run."""
        return files.join(self._save_dir, self._name, f"version_{self.version}")

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers of one step.

        Raises:
            TypeError: a value is no number. The message names it.
        """
        if self._writes:
            self.experiment.log(self._named(numbers(metrics)), global_step=step)

    def log_hyperparams(self, params: Any, metrics: Mapping[str, float] | float | None = None) -> None:
        """Record parameters, nested ones as `outer/inner`. `metrics`, where given, are logged."""
        if not self._writes:
            return
        self.experiment.argparse(Namespace(**flat(plain_hyperparams(params))))
        if metrics is not None:
            self.log_metrics(metrics if isinstance(metrics, Mapping) else {"hp_metric": metrics})

    def log_graph(self, model: Any, input_array: Any = None) -> None:
        """Record the module's graph, if the logger was made with `log_graph=True`.

        Args:
            input_array: what its `forward` takes; None for its `example_input_array`.
        """
        example = getattr(model, "example_input_array", None) if input_array is None else input_array
        if self._log_graph and self._writes and example is not None:
            self.experiment.add_graph(model, example)

    def save(self) -> None:
        """Write out what test-tube holds back."""
        if self._experiment is not None:
            self._experiment.save()

    def finalize(self, status: str) -> None:
        """A run of the Trainer is over: write out and close."""
        self.save()
        self.close()

    def close(self) -> None:
        """Close the experiment's files; the next use opens them again."""
        if self._experiment is not None:
            self._experiment.close()
            self._experiment = None
