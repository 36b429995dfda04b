"""What a profiler is: it measures actions, the named parts of a run, and tells what it found. Subclass it for one's
own."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import TypeVar

from functrain import files
from functrain.trainer.flags import Path

T = TypeVar("T")


class Profiler(ABC):
    """Measures actions. `start` and `stop` are what one's own must have; `summary` tells what was found.

    A Trainer wraps the parts of a run when it starts; the code of a module measures its own parts by
    `self.trainer.profiler.profile("name")`. At the end of every fit, validate, test and predict it calls `describe`.

    Args:
        dirpath: the directory of the report; default: that of the run's first logger, else `default_root_dir`.
        filename: the report is added to the file `<stage>-<filename>.txt` there; with several processes each has its
            own, with its number. Without both arguments it is printed.
    """

    dirpath: Path | None = None
    filename: str | None = None

    # What is known of the run; class attributes, so that one's own __init__ need not call this one.
    _stage: str | None = None
    _rank: int | None = None
    _log_dir: str | None = None

    def __init__(self, dirpath: Path | None = None, filename: str | None = None) -> None:
        self.dirpath = dirpath
        self.filename = filename

    @property
    def local_rank(self) -> int:
        """This process among those of the run; 0 where it is alone."""
        return self._rank or 0

    @abstractmethod
    def start(self, action_name: str) -> None:
        """An action begins."""

    @abstractmethod
    def stop(self, action_name: str) -> None:
        """An action that has begun ends."""

    def summary(self) -> str:
        """Return the report; empty where there is nothing to tell."""
        return ""

    @contextmanager
    def profile(self, action_name: str) -> Generator[str]:
        """Return a context manager whose block is one action, also where an exception ends it."""
        self.start(action_name)
        try:
            yield action_name
        finally:
            self.stop(action_name)

    def profile_iterable(self, iterable: Iterable[T], action_name: str) -> Generator[T]:
        """Yield the items of an iterable; to get each of them is one action."""
        items = iter(iterable)
        while True:
            with self.profile(action_name):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item

    def setup(self, stage: str | None = None, local_rank: int | None = None, log_dir: str | None = None) -> None:
        """A run begins.

        Args:
            stage: 'fit', 'validate', 'test' or 'predict'.
            local_rank: this process among those of the run; None where it is alone.
            log_dir: the directory of the run's logs.
        """
        self._stage, self._rank, self._log_dir = stage, local_rank, log_dir

    def describe(self) -> None:
        """Tell the report: print it, or add it to the file. Nothing where `summary` is empty.

        Raises:
            OSError: the file cannot be written. The message names it.
        """
        text = self.summary()
        if not text:
            return
        if self.filename or self.dirpath is not None:
            add_to(self.place(".txt"), f"{text}\n")
        elif not self.local_rank:
            print(text)

    def teardown(self, stage: str | None = None) -> None:
        """The run is over, and was described: let go of what belongs to it."""
        return

    def place(self, suffix: str, default: str = "profile", action_name: str | None = None) -> str:
        """Return the path of a file of this run: its stage, `filename` (or `default`), its process where it is one of
        several, the action."""
        parts = [self._stage, self.filename or default, None if self._rank is None else str(self._rank), action_name]
        name = re.sub(r"[\\/:*?\"<>|\s]+", "_", "-".join(part for part in parts if part))
        directory = self.dirpath if self.dirpath is not None else self._log_dir or os.getcwd()
        return files.join(os.path.expanduser(os.fspath(directory)), name + suffix)


class PassThroughProfiler(Profiler):
    """Measures nothing: what a Trainer has where no profiler was asked for."""

    def start(self, action_name: str) -> None:
        """Do nothing."""

    def stop(self, action_name: str) -> None:
        """Do nothing."""


def add_to(path: str, text: str) -> None:
    """Add text to the end of a file, which is made where it is missing."""
    before = ""
    if files.exists(path):
        with files.open_read(path, "r") as file:
            before = file.read()
    with files.atomic_write(path, "w") as file:
        file.write(before + text)
