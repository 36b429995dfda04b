"""What loggers that write into a directory of their own share: its name, its number, its hparams.yaml."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from typing import Any

from functrain import files
from functrain.loggers.base import Logger
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.hparams import save_hparams_yaml
from functrain.trainer.plain import as_dict
from functrain.trainer.world import World, on_first


class DirectoryLogger(Logger):
    """A logger whose run lives in `save_dir/name/version_N/sub_dir`. It is made by the first write.

    Args:
        save_dir: a local path or a URL that fsspec can write.
        name: the experiment; "" or None for no level of its own.
        version: a number N for `version_N`, or the directory's own name. None is the number after the highest
            one there, settled when it is first asked for.
        prefix: put in front of every metric's name, with a `-`.
        sub_dir: below the version's directory.
    """

    def __init__(
        self,
        save_dir: str | os.PathLike[str],
        name: str | None = "lightning_logs",
        version: int | str | None = None,
        prefix: str = "",
        sub_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        if not isinstance(save_dir, str | os.PathLike):
            raise ConfigurationError(f"{type(self).__name__}(save_dir={save_dir!r}): must be a path or a URL.")
        self._save_dir = os.path.expanduser(os.fspath(save_dir))
        self._name = name or ""
        self._version = version
        self._prefix = prefix
        self._sub_dir = os.fspath(sub_dir) if sub_dir is not None else ""
        self.hparams: dict[str, Any] = {}
        self._writes = True

    def share(self, world: World) -> None:
        """The first process picks the version, and is the only one to write."""
        self._version = on_first(world, lambda: self.version)
        self._writes = world.rank == 0

    @property
    def name(self) -> str:
        """The experiment's name; "" where it has no directory of its own."""
        return self._name

    @property
    def version(self) -> int | str:
        """The run's number, or its directory's name."""
        if self._version is None:
            self._version = _next_version(self.root_dir)
        return self._version

    @property
    def save_dir(self) -> str:
        """The directory of all experiments."""
        return self._save_dir

    @property
    def root_dir(self) -> str:
        """The directory of this experiment's runs."""
        return files.join(self._save_dir, self._name) if self._name else self._save_dir

    @property
    def log_dir(self) -> str:
        """The directory of this run."""
        version = self.version if isinstance(self.version, str) else f"version_{self.version}"
        return files.join(self.root_dir, version, *([self._sub_dir] if self._sub_dir else []))

    def state_dict(self) -> dict[str, Any]:
        """Return the directory of this run; nothing where it is not settled yet."""
        return {} if self._version is None else {"log_dir": self._place()}

    def begin_run(self) -> None:
        """Say it where another run's records stand in the directory, which those of this one will be added to."""
        if self._version is not None and self._holds_records():
            warnings.warn(
                f"{type(self).__name__}: {self.log_dir} holds what another run has logged, and this run's is added to "
                f"it. For a directory of its own leave out version={self._version!r}, or move that one away; to "
                "continue the other run give fit(ckpt_path=...) a checkpoint of it.",
                UserWarning,
                stacklevel=2,
            )

    def _holds_records(self) -> bool:
        """Return whether records stand in the directory that were not written through this logger."""
        return False

    def _goes_on(self, state: Mapping[str, Any]) -> bool:
        """Return whether a run that left this state goes on in the same directory."""
        return self._version is not None and state.get("log_dir") == self._place() and files.is_dir(self._place())

    def _place(self) -> str:
        return self.log_dir if files.is_remote(self.log_dir) else os.path.abspath(self.log_dir)

    def log_hyperparams(self, params: Any, metrics: Mapping[str, float] | float | None = None) -> None:
        """Add to the hyperparameters and write them all to `hparams.yaml`, atomically.

        Args:
            params: a mapping, an argparse.Namespace or a dataclass instance. What is no plain value is named
                in the file, not stored.
            metrics: numbers to compare runs by; left to the logger.
        """
        self.hparams.update(as_dict(params, "params of log_hyperparams"))
        if self._writes:
            save_hparams_yaml(files.join(self.log_dir, "hparams.yaml"), self.hparams)


def _next_version(root_dir: str) -> int:
    """One more than the highest N of the directories `version_N` in `root_dir`; 0 without any."""
    if not files.is_dir(root_dir):
        return 0
    matches = [re.fullmatch(r"version_(\d+)", name) for name in files.list_dir(root_dir)]
    return 1 + max((int(match[1]) for match in matches if match), default=-1)
