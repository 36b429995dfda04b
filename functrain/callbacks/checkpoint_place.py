"""The directory of a ModelCheckpoint: which files in it are this run's, names for new ones, and their removal.

A file belongs to the run that wrote it. What a checkpoint names is looked at only if it lies in this directory, never
through a link, and counts only if its own mark says that this run wrote it.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Collection
from itertools import count
from typing import NamedTuple

from functrain import claims, files
from functrain.callbacks.checkpoint_files import absolute
from functrain.claims import Claim
from functrain.regular import is_regular
from functrain.trainer.identity import Identity, Mark

_UNSAFE_IN_URLS = ("::", "://", "*", "?", "[")


class Found(NamedTuple):
    """A name of a checkpoint's records, looked for in this directory.

    Attributes:
        path: where it lies, or would lie; "" for a name of another place.
        there: something is there.
        known: it is a checkpoint of this run, not younger than the state that the run continues from.
        ours: this run may also remove or replace it.
    """

    path: str = ""
    there: bool = False
    known: bool = False
    ours: bool = False


class Place:
    """One callback's directory, in one fit.

    Args:
        directory: it exists.
        suffix: what a checkpoint's name ends with.
        key: the callback's own, among those of the Trainer.
        identity: the ids of the fit.
        mark: returns who wrote a checkpoint.
    """

    def __init__(
        self, directory: str, suffix: str, key: str, identity: Identity, mark: Callable[[str], Mark | None]
    ) -> None:
        self.directory = directory
        self.suffix = suffix
        self.key = hashlib.sha256(key.encode()).hexdigest()[:32]
        self.identity = identity
        self.mark = mark
        self._claims: list[Claim] = []
        self._warned: set[str] = set()

    # whose

    def owns(self, path: str) -> bool:
        """Return whether this run may remove or replace what is there."""
        mark = self.mark(path) if self._plain(path) else None
        return self.identity.wrote(mark) or (self.identity.led_here(mark) and self.identity.hold(self.directory))

    def find(self, path: str, old: str) -> Found:
        """Look for a file that a checkpoint names, which was written when the directory was `old`."""
        below = old.rstrip("/") + "/"
        parts = path.removeprefix(below).split("/")
        is_elsewhere = not path.startswith(below) or not path.endswith(self.suffix) or not self._safe(parts)
        if is_elsewhere:
            return Found()
        here = files.join(self.directory, *parts)
        there = files.exists(here) if files.is_remote(here) else is_regular(here, self.directory)
        found = Found(here, there, there and self.identity.led_here(self.mark(here)), there and self.owns(here))
        if found.ours:
            claims.forget(here)
        return found

    def trusts(self, path: str) -> bool:
        """Return whether a file may be opened that only a checkpoint names as this run's best.

        If it lies in this directory, or beside the checkpoint that the user has named.
        """
        source = absolute(self.identity.source) if self.identity.source else ""
        if path == source or self._inside(path):
            return True
        beside = not files.is_remote(path) and is_regular(path, os.path.dirname(source))
        return beside and self.identity.led_here(self.mark(path))

    def _inside(self, path: str) -> bool:
        below = self.directory.rstrip("/") + "/"
        return path.startswith(below) and self._safe(path.removeprefix(below).split("/")) and self._plain(path)

    def _plain(self, path: str) -> bool:
        return files.is_remote(path) or is_regular(path, self.directory)

    def _safe(self, parts: list[str]) -> bool:
        text = "/".join(parts)
        unsafe = _UNSAFE_IN_URLS if files.is_remote(self.directory) else ()
        return not {"", ".", ".."} & set(parts) and "\0" not in text and not any(sign in text for sign in unsafe)

    # names

    def claim(self, name: str, counted: Collection[str], replaced: Collection[str], step: int) -> str:
        """Return a path for `name` that no other process can get, until `settle`.

        It gets -v1, -v2, ... where something stands there that may not be replaced. What may be: those files of
        `replaced` which this run owns, and those that this callback has written, no further than at `step`, without
        counting them now: later than the state that the run continues from, by a process that was killed.
        """
        self.identity.hold(self.directory)
        for version in count():
            path = files.join(self.directory, f"{name}-v{version}{self.suffix}" if version else name + self.suffix)
            claim = claims.claim(path)
            if claim is None:
                continue
            if self._free(path, counted, replaced, step):
                self._claims.append(claim)
                return path
            claim.release()
        raise AssertionError("there is always another number")

    def _free(self, path: str, counted: Collection[str], replaced: Collection[str], step: int) -> bool:
        if not (files.exists(path) if files.is_remote(path) else os.path.lexists(path)):
            return True
        if path in counted:
            return path in replaced and self.owns(path)
        mark = self.mark(path) if self._plain(path) else None
        if mark is None or mark.by != self.key or mark.step > step:
            return False
        return mark.fit in self.identity.killed or self.owns(path)

    def settle(self) -> None:
        """A save is over, with all that belongs to it, the removal of what it replaces too: let go of the names."""
        while self._claims:
            self._claims.pop().release()

    # removal

    def sweep(self) -> None:
        """Remove what those fits were writing when they were killed that this run continues."""
        if self.identity.past and self.identity.hold(self.directory):
            files.sweep(self.directory, self.identity.killed)

    def remove(self, path: str) -> None:
        """Remove a file of this run. One that is not, or no longer, is left alone and told."""
        there = files.exists(path) if files.is_remote(path) else os.path.lexists(path)
        if there and self.owns(path):
            files.remove(path)
        elif there:
            self.warn_of_foreign([path])

    def warn_of_foreign(self, paths: Collection[str]) -> None:
        """Say that files which records name are not this run's."""
        self._warned.update(paths)
        names = ", ".join(repr(path.removeprefix(self.directory).lstrip("/")) for path in dict.fromkeys(paths))
        why = "not written by this run before the state that it continues from"
        if self.identity.source and not self.identity.past:
            why = (
                f"not written by this run, as far as can be known: {self.identity.source}, which it continues from, "
                "was written by an older version and has no ids of its run"
            )
        elif not self.identity.hold(self.directory):
            why = "also those of another process, which is training the same run there at this moment"
        warnings.warn(
            f"ModelCheckpoint: the files {names} in {self.directory} are {why}. They are left as they are; new ones "
            "get other names (-v1, -v2, ...). Another dirpath keeps runs apart.",
            UserWarning,
            stacklevel=2,
        )

    def warn_of_others(self, last: str) -> None:
        """Say it where another run's 'last' file stands here, which somebody may take for this run's."""
        if files.is_remote(self.directory) or not last:
            return
        names = [
            name for name in files.list_dir(self.directory) if name.startswith(last) and name.endswith(self.suffix)
        ]
        others = [
            name for name in names if files.join(self.directory, name) not in self._warned and self._foreign(name)
        ]
        if others:
            warnings.warn(
                f"ModelCheckpoint: {', '.join(map(repr, sorted(others)))} in {self.directory}: another run's. It is "
                "left as it is, and what this run saves gets other names (-v1, -v2, ...); ckpt_path='last' takes the "
                "newest of all that stand there. Another dirpath keeps runs apart.",
                UserWarning,
                stacklevel=2,
            )

    def _foreign(self, name: str) -> bool:
        path = files.join(self.directory, name)
        mark = self.mark(path) if self._plain(path) else None
        return mark is None or mark.run != self.identity.run
