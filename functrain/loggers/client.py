"""What loggers over a tracking library's own client share: it is imported, and connected, at the first use."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, ClassVar

from functrain.loggers.base import Logger
from functrain.loggers.dummy import DummyExperiment
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.plain import as_dict, storable
from functrain.trainer.world import World, on_first


class ClientLogger(Logger):
    """A logger over a library's own client. A subclass says how to connect, and what is written.

    Args:
        prefix: put in front of every metric's name.
        agg_key_funcs, agg_default_func: not available; must be None.

    Raises:
        ConfigurationError: the library is not installed; says what to install.
    """

    may_lag = True

    PACKAGE: ClassVar[str]
    """The package that is imported."""
    INSTALL: ClassVar[str]
    """What pip calls it."""
    LOGGER_JOIN_CHAR: ClassVar[str] = "-"

    def __init__(self, prefix: str = "", agg_key_funcs: None = None, agg_default_func: None = None) -> None:
        super().__init__(agg_key_funcs, agg_default_func)
        if not _is_there(self.PACKAGE):
            raise ConfigurationError(
                f"{type(self).__name__}: needs the package {self.PACKAGE}, which is not installed; run `pip install "
                f"{self.INSTALL}`, or use another logger, such as CSVLogger."
            )
        self._prefix = prefix
        self._experiment: Any = None
        self._writes = True

    @abstractmethod
    def _connect(self, library: ModuleType) -> Any:
        """Return the client's object of this run, which is made or found now."""

    def library(self, name: str = "") -> ModuleType:
        """Return the library, or a module of it, imported when it is first asked for."""
        return import_module(f"{self.PACKAGE}.{name}" if name else self.PACKAGE)

    @property
    def experiment(self) -> Any:
        """The library's own object of this run, for what only it can do; it is made when it is first asked for. In a
        process that does not write, one that does nothing."""
        if not self._writes:
            return DummyExperiment()
        if self._experiment is None:
            self._experiment = self._connect(self.library())
        return self._experiment

    def share(self, world: World) -> None:
        """The first process connects, and is the only one to write; the others know its version."""
        self._writes = world.rank == 0
        version = on_first(world, lambda: self.version)
        if not self._writes:
            self._take_version(version)

    def _take_version(self, version: Any) -> None:
        """Another process writes the run of this version."""

    def _named(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """The metrics by the names that are written."""
        if not self._prefix:
            return dict(metrics)
        return {f"{self._prefix}{self.LOGGER_JOIN_CHAR}{name}": value for name, value in metrics.items()}

    def __getstate__(self) -> dict[str, Any]:
        # A copy, or another process, connects anew.
        return {**vars(self), "_experiment": None}


def plain_hyperparams(params: Any) -> dict[str, Any]:
    """Return hyperparameters as plain values; those that are none, as text."""
    given = as_dict(params, "params of log_hyperparams")
    plain, left_out = storable(given)
    return {name: plain[name] if name in plain else str(given[name]) for name in given if name in plain or left_out}


def flat(params: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values under `outer/inner`."""
    found: dict[str, Any] = {}
    for name, value in params.items():
        if isinstance(value, Mapping) and value:
            found.update(flat(value, f"{prefix}{name}/"))
        else:
            found[f"{prefix}{name}"] = value
    return found


def _is_there(package: str) -> bool:
    """Return whether a package could be imported, without doing it."""
    if package in sys.modules:
        return sys.modules[package] is not None
    try:
        return find_spec(package) is not None
    except (ModuleNotFoundError, ValueError):
        return False
