"""Names in a directory that one living process has for itself: hidden files with a lock that goes with the process.

Touches these hidden files only. A URL cannot be locked: there every claim is granted.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time

from functrain import files

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has no flock; there whoever makes the file has the name
    fcntl = None

_SUFFIX = ".claim"
_LONGEST = 4096
_TIDY_AGE = 60.0  # seconds; covers the moment between a claim's creation and its lock
_open: set[int] = set()


class Claim:
    """A name that is claimed.

    Attributes:
        path: what was claimed.
        found: the note of a process that had claimed the name and was killed before it let go; None where there was
            none.
    """

    def __init__(self, path: str, descriptor: int | None, found: bytes | None) -> None:
        self.path = path
        self.found = found
        self._descriptor = descriptor

    def note(self, content: bytes) -> None:
        """Leave a note in the claim, for who comes after a kill."""
        if self._descriptor is not None:
            with files.explained("claim", self.path):
                os.ftruncate(self._descriptor, 0)
                os.pwrite(self._descriptor, content[:_LONGEST], 0)

    def release(self) -> None:
        """Let go of the name."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None or descriptor not in _open:
            return
        _open.discard(descriptor)
        with contextlib.suppress(OSError):
            os.unlink(hidden(self.path))
        os.close(descriptor)


def claim(path: str) -> Claim | None:
    """Claim a name; None where a living process has it.

    Raises:
        OSError: nothing can be made there. The message names `path`.
    """
    if files.is_remote(path):
        return Claim(path, None, None)
    path = path.removeprefix("file://")
    files.ensure_directory(os.path.dirname(path) or ".")
    with files.explained("claim", path):
        return _claim(path)


def forget(path: str) -> None:
    """Remove the claim of a killed process on a name, if there is one."""
    if not files.is_remote(path) and os.path.lexists(hidden(path)):
        found = claim(path)
        if found is not None:
            found.release()


def hidden(path: str) -> str:
    """Return the hidden file that stands for a claim of `path`."""
    directory, name = os.path.split(path)
    return os.path.join(directory, f".{name}{_SUFFIX}")


def tidy(directory: str) -> None:
    """Remove the claims of killed processes on names that stand for nothing in a local directory."""
    has_no_claims = files.is_remote(directory) or fcntl is None or not os.path.isdir(directory)
    if has_no_claims:
        return
    for name in sorted(os.listdir(directory)):
        claimed = os.path.join(directory, name[1 : -len(_SUFFIX)])
        is_left_alone = not name.startswith(".") or not name.endswith(_SUFFIX) or os.path.lexists(claimed)
        if is_left_alone:
            continue
        with contextlib.suppress(OSError):
            young = time.time() - os.lstat(hidden(claimed)).st_mtime < _TIDY_AGE
            found = None if young else _claim(claimed, make=False)
            if found is not None:
                found.release()


def _claim(path: str, make: bool = True) -> Claim | None:
    file = hidden(path)
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    while True:
        made = False
        try:
            descriptor = os.open(file, flags)
        except FileNotFoundError:
            if not make:
                return None
            try:
                descriptor, made = os.open(file, flags | os.O_CREAT | os.O_EXCL, 0o666), True
            except FileExistsError:
                continue
        _open.add(descriptor)
        if not _locked(descriptor, made):
            _close(descriptor)
            return None
        if _is_at(descriptor, file):
            return Claim(path, descriptor, None if made else os.pread(descriptor, _LONGEST, 0))
        _close(descriptor)  # its owner has let go of it meanwhile


def _locked(descriptor: int, made: bool) -> bool:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return False
    if fcntl is None:
        return made
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return made  # a file system without locks
    return True


def _is_at(descriptor: int, file: str) -> bool:
    try:
        there, here = os.stat(file, follow_symlinks=False), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _close(descriptor: int) -> None:
    _open.discard(descriptor)
    os.close(descriptor)


def _close_in_child() -> None:
    """A lock is shared with forked children, who may outlive a killed parent: they let go of it."""
    for descriptor in list(_open):
        _close(descriptor)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
