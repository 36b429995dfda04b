"""What the local file system does for `functrain.files`: names beside others, exchanges, syncs, locks."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterator
from functools import cache
from typing import Any

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has no flock; there nothing is ever swept
    fcntl = None

LOCKS = fcntl is not None
TEMPORARY = ".tmp"  # half written, or on its way out
ASIDE = ".old"  # a directory that is being replaced
_DIGITS = 8
_TOGETHER = 8  # files
_SWEEP_AGE = 60.0  # seconds; covers the moment between a temporary's creation and its lock
_HERE, EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux


def sizes(directory: str, below: str) -> Iterator[tuple[str, int]]:
    """Yield the files below a directory with their sizes.

    Raises:
        ValueError: something there is neither a file nor a directory.
    """
    with os.scandir(directory) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        name = f"{below}{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            yield from sizes(entry.path, f"{name}/")
        elif entry.is_file(follow_symlinks=False):
            yield name, entry.stat(follow_symlinks=False).st_size
        else:
            kind = "a link" if entry.is_symlink() else "neither a file nor a directory"
            raise ValueError(f"{name} in '{directory}' is {kind}")


def beside(path: str, suffix: str, by: str = "") -> str:
    """Return a hidden name for a temporary of `path`, in the same directory.

    Args:
        by: the id of who writes, in hexadecimal digits; the name begins its last part with the first of them.
    """
    directory, name = os.path.split(path)
    return os.path.join(directory, f".{name}.{by[:_DIGITS]}{secrets.token_hex(_DIGITS // 2)}{suffix}")


def original(name: str) -> str | None:
    """Return the name that a temporary stands for; None where `name` is not one of ours."""
    base, token = _parts(name)
    return base if len(token) in (_DIGITS, 2 * _DIGITS) and set(token) <= set("0123456789abcdef") else None


def is_by(name: str, ids: Collection[str]) -> bool:
    """Return whether the name of a temporary says that one of these wrote it."""
    _, token = _parts(name)
    return len(token) == 2 * _DIGITS and any(token[:_DIGITS] == by[:_DIGITS] for by in ids)


def _parts(name: str) -> tuple[str, str]:
    """Return the name that a temporary stands for, and what tells it from others of that name."""
    stem, dot, suffix = name.rpartition(".")
    base, _, token = stem.rpartition(".")
    ours = dot + suffix in (TEMPORARY, ASIDE) and base.startswith(".") and len(base) > 1
    return (base[1:], token) if ours else ("", "")


def replace_directory(new: str, path: str) -> None:
    """Give the directory `new` the name `path`; what had it before is removed."""
    parent = os.path.dirname(path) or "."
    if not os.path.lexists(path):
        os.rename(new, path)
        sync_directory(parent)
        return
    with held_open(path) as descriptor:
        lock(descriptor)
        old = new if _exchanged(new, path) else _moved_aside(new, path)
        sync_directory(parent)
        with contextlib.suppress(OSError):
            discard(old)


def _moved_aside(new: str, path: str) -> str:
    aside = beside(path, ASIDE)
    os.rename(path, aside)
    try:
        os.rename(new, path)
    except BaseException:
        os.rename(aside, path)
        raise
    return aside


def _exchanged(one: str, other: str) -> bool:
    """Let two names change places in one step; False where this system or this file system cannot."""
    rename = _renameat2()
    return rename is not None and not rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), EXCHANGE)


@cache
def _renameat2() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), "renameat2", None)


def discard(path: str) -> None:
    """Remove a file, a link or a whole directory."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def sync_tree(directory: str) -> None:
    """Force a directory and all below it to the disk, several files at a time: a disk takes what comes together in one
    go."""
    calls: list[tuple[Callable[[str], None], str]] = []
    for folder, _, names in os.walk(directory):
        calls += [(_sync, os.path.join(folder, name)) for name in names]
        calls.append((sync_directory, folder))
    try:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(_TOGETHER, "functrain-sync") as pool:
            for done in [pool.submit(sync, path) for sync, path in calls]:
                done.result()
    except RuntimeError:  # the interpreter is shutting down, and waits for what is written
        for sync, path in calls:
            sync(path)


def _sync(path: str) -> None:
    with held_open(path) as descriptor:
        os.fsync(descriptor)


def sync_directory(directory: str) -> None:
    """Force the names in a directory to the disk."""
    # Some file systems refuse to sync a directory; the rename itself is atomic there all the same.
    with contextlib.suppress(OSError):
        _sync(directory)


def lock(descriptor: int) -> None:
    """Mark a temporary as being written. The lock goes with the process, however that ends."""
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_stale(path: str, killed: Collection[str] = ()) -> bool:
    """Return whether it is a temporary that no living process is writing. Those of `killed` writers need not be old for
    it."""
    assert fcntl is not None
    try:
        # What is moved aside was locked before.
        age = 0.0 if path.endswith(ASIDE) or is_by(os.path.basename(path), killed) else _SWEEP_AGE
        if os.path.islink(path) or time.time() - os.stat(path).st_mtime < age:
            return False
        with held_open(path) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def held_open(path: str) -> Iterator[int]:
    """A file or a directory, open for reading as long as the block runs."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
