"""Files that are whole or not there: written beside their name and renamed. Local paths and fsspec URLs.

May touch the disk and nothing else. fsspec is imported only for paths that have a scheme (`://`).
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterator
from typing import IO, Any

from functrain import disk

_ADVICE = {
    errno.ENOSPC: "free space on that disk, or choose a directory on another one",
    errno.EDQUOT: "free space within your quota, or choose a directory on another disk",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f), or choose another file system",
    errno.EACCES: "choose a directory that this user may write to",
    errno.EPERM: "choose a directory that this user may write to",
    errno.EROFS: "choose a directory on a disk that is not mounted read-only",
    errno.ENOTDIR: "a file stands where a directory is needed: choose another path",
    errno.EEXIST: "something else stands there: choose another path, or remove it",
    errno.EISDIR: "a directory stands there: choose another path, or remove it",
    errno.ENAMETOOLONG: "choose a shorter file name",
}


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Return whether `path` is a URL for fsspec. `file://...` is local."""
    text = os.fspath(path)
    return "://" in text and not text.startswith("file://")


def join(path: str | os.PathLike[str], *parts: str) -> str:
    """`path` and `parts` joined: with `/` for a URL, as the operating system does it otherwise."""
    if is_remote(path):
        return "/".join([os.fspath(path).rstrip("/"), *(part.strip("/") for part in parts if part)])
    return os.path.join(_local(path), *parts)


def exists(path: str | os.PathLike[str]) -> bool:
    """Return whether a file or a directory is there."""
    if is_remote(path):
        fs, inner = _filesystem(path)
        return bool(fs.exists(inner))
    return os.path.exists(_local(path))


def modified(path: str | os.PathLike[str]) -> float:
    """Return when it was last written, in seconds since 1970.

    Raises:
        OSError: it is not there. The message names it.
    """
    with explained("look at", path):
        if is_remote(path):
            fs, inner = _filesystem(path)
            return float(fs.modified(inner).timestamp())
        return os.stat(_local(path)).st_mtime


def free_name(place: str, suffix: str = "") -> str:
    """Return the path of what is not there yet: the place and the suffix, with a number between where there was one."""
    path, number = f"{place}{suffix}", 1
    while exists(path):
        number += 1
        path = f"{place}-{number}{suffix}"
    return path


def is_dir(path: str | os.PathLike[str]) -> bool:
    """Return whether a directory is there."""
    if is_remote(path):
        fs, inner = _filesystem(path)
        return bool(fs.isdir(inner))
    return os.path.isdir(_local(path))


def list_dir(path: str | os.PathLike[str]) -> list[str]:
    """Return the sorted names (not paths) in a directory, without the temporaries that this module makes.

    Raises:
        OSError: there is no such directory, or it cannot be read. The message names it.
    """
    with explained("list", path):
        return [name for name in _names(path) if disk.original(name) is None]


def tree(directory: str | os.PathLike[str]) -> dict[str, int]:
    """Return the size of every file below a directory, by its path from there; no file is opened.

    Raises:
        OSError: there is no such directory, or it cannot be read.
        ValueError: something in it is neither a file nor a directory, but a link or a device; names it.
    """
    with explained("list", directory):
        if is_remote(directory):
            fs, inner = _filesystem(directory)
            inner = inner.rstrip("/")
            found = fs.find(inner, detail=True)
            return {name.removeprefix(inner).lstrip("/"): int(found[name]["size"]) for name in sorted(found)}
        return dict(disk.sizes(_local(directory), ""))


def ensure_directory(path: str | os.PathLike[str]) -> str:
    """Make the directory `path`, with its parents, where it is missing, and give its path as a string.

    Raises:
        OSError: it cannot be made, or this user may not write to it. The message says which and what to do.
    """
    if is_remote(path):
        with explained("make the directory", path):
            fs, inner = _filesystem(path)
            fs.makedirs(inner, exist_ok=True)
        return os.fspath(path)
    local = _local(path)
    with explained("make the directory", local):
        os.makedirs(local, exist_ok=True)
    if not os.access(local, os.W_OK | os.X_OK):
        raise _explain(OSError(errno.EACCES, os.strerror(errno.EACCES)), "write to the directory", local)
    return local


def remove(path: str | os.PathLike[str]) -> None:
    """Remove a file, a link or a whole directory; nothing happens where there is none.

    A directory vanishes from its name at once and is emptied afterwards, so that no half of one is ever seen.

    Raises:
        OSError: it cannot be removed. The message names it.
    """
    with explained("remove", path):
        if is_remote(path):
            fs, inner = _filesystem(path)
            if fs.exists(inner):
                # fsspec takes the name for a pattern: '*', '?' and '[' are to stand for themselves.
                fs.rm(glob.escape(inner), recursive=True)
            return
        local = _local(path).rstrip(os.sep)
        if os.path.isdir(local) and not os.path.islink(local):
            doomed = disk.beside(local, disk.TEMPORARY)
            os.rename(local, doomed)
            local = doomed
        with contextlib.suppress(FileNotFoundError):
            disk.discard(local)


def open_read(path: str | os.PathLike[str], mode: str = "rb") -> IO[Any]:
    """Open a local file or a URL for reading, `mode` "rb" or "r" (UTF-8, line ends as they are).

    Raises:
        OSError: it is missing or unreadable. The message names it.
    """
    if mode not in ("rb", "r"):
        raise ValueError(f"open_read: mode is {mode!r}; it must be 'rb' or 'r'")
    with explained("read", path):
        if is_remote(path):
            fs, inner = _filesystem(path)
            return fs.open(inner, mode, **_text(mode))
        return open(_local(path), mode, **_text(mode))


def open_write(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a file that is not there yet for writing; its place is one that nobody sees before it is whole.

    Raises:
        OSError: it cannot be made. The message names it.
    """
    with explained("write", path):
        if is_remote(path):
            fs, inner = _filesystem(path)
            return fs.open(inner, "wb")
        return open(_local(path), "xb")


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "wb", by: str = "") -> Iterator[IO[Any]]:
    """Write a file that appears at `path` whole, or not at all.

    What is written goes to a hidden file in the same directory (made where missing); at the end of the block
    that is forced to the disk and renamed. Whatever happens before, a kill included, an older file at `path`
    stays as it was.

    Args:
        path: a local path, or any URL that fsspec can write. A link is replaced, not followed.
        mode: "wb", or "w" for UTF-8 text whose line ends are written as they are.
        by: the id of who writes, for `sweep`.

    Raises:
        OSError: of the kind that went wrong; the message names `path`, what failed and what to do.
        ValueError: another mode.
    """
    if mode not in ("wb", "w"):
        raise ValueError(f"atomic_write: mode is {mode!r}; it must be 'wb' or 'w'")
    with explained("write", path, "; what was there before is untouched"):
        if is_remote(path):
            with _remote_temporary(path) as (fs, temporary), fs.open(temporary, mode, **_text(mode)) as file:
                yield file
            return
        local = _local(path)
        ensure_directory(os.path.dirname(local) or ".")
        temporary = disk.beside(local, disk.TEMPORARY, by)
        try:
            with open(temporary, mode.replace("w", "x"), **_text(mode)) as file:
                disk.lock(file.fileno())
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, local)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        disk.sync_directory(os.path.dirname(local) or ".")


@contextlib.contextmanager
def atomic_directory(path: str | os.PathLike[str], by: str = "") -> Iterator[str]:
    """Fill a directory that appears at `path` whole, or not at all. Gives the path of the directory to fill.

    An existing directory at `path` changes places with the new one in one step, where the system can do that
    (Linux), and is then removed. Elsewhere it is moved aside first: a kill between those two renames leaves both
    versions on the disk under hidden names, where `standing` finds the older one and `sweep` puts it back.

    Args:
        path: a local path, or a URL that fsspec can write (there the move is as atomic as the store's own).
        by: the id of who writes, for `sweep`.

    Raises:
        OSError: of the kind that went wrong; the message names `path`, what failed and what to do.
    """
    with explained("write the directory", path, "; what was there before is untouched"):
        if is_remote(path):
            with _remote_temporary(path) as (fs, temporary):
                fs.makedirs(temporary, exist_ok=True)
                yield fs.unstrip_protocol(temporary)
            return
        local = _local(path).rstrip(os.sep)
        if os.path.exists(local) and not os.path.isdir(local):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        ensure_directory(os.path.dirname(local) or ".")
        temporary = disk.beside(local, disk.TEMPORARY, by)
        try:
            os.mkdir(temporary)
            with disk.held_open(temporary) as descriptor:
                disk.lock(descriptor)
                yield temporary
                disk.sync_tree(temporary)
                disk.replace_directory(temporary, local)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def standing(path: str | os.PathLike[str]) -> str:
    """Return where a reader finds what is called `path`: there, or where a replacement that was cut short has left
    it."""
    text = os.fspath(path).rstrip("/") or os.fspath(path)
    if exists(text):
        return text
    parent, slash, name = text.rpartition("/")
    parent = parent + slash or "."
    with contextlib.suppress(OSError):
        aside = [other for other in _names(parent) if other.endswith(disk.ASIDE) and disk.original(other) == name]
        if aside:
            return join(parent, aside[-1])
    return text


def sweep(directory: str | os.PathLike[str], killed: Collection[str] = ()) -> list[str]:
    """Clear what killed writers left in a local directory, and give the names dealt with.

    Temporaries which no living process is writing are removed, once they are a minute old, or at once where one of
    `killed`, ids of writers, has made them; a directory that was moved aside while its successor never came is put back
    under its name. Nothing is done to a URL, or without file locks.
    """
    cannot_be_swept = is_remote(directory) or not disk.LOCKS or not os.path.isdir(_local(directory))
    if cannot_be_swept:
        return []
    local, done = _local(directory), []
    for name in sorted(os.listdir(local)):
        original = disk.original(name)
        if original is not None and disk.is_stale(entry := os.path.join(local, name), killed):
            with contextlib.suppress(OSError):
                if name.endswith(disk.ASIDE) and not os.path.lexists(os.path.join(local, original)):
                    os.rename(entry, os.path.join(local, original))
                else:
                    disk.discard(entry)
                done.append(name)
    return done


def _names(path: str | os.PathLike[str]) -> list[str]:
    if not is_remote(path):
        return sorted(os.listdir(_local(path)))
    fs, inner = _filesystem(path)
    listed = [entry["name"].rstrip("/") for entry in fs.ls(inner, detail=True)]
    return sorted(name.rsplit("/", 1)[-1] for name in listed if name != inner.rstrip("/"))


def _local(path: str | os.PathLike[str]) -> str:
    return os.fspath(path).removeprefix("file://")


def _text(mode: str) -> dict[str, Any]:
    return {} if "b" in mode else {"encoding": "utf-8", "newline": ""}


def _filesystem(path: str | os.PathLike[str]) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    return url_to_fs(os.fspath(path))


def _explain(error: OSError, doing: str, path: str | os.PathLike[str], state: str = "") -> OSError:
    what = error.strerror or str(error) or type(error).__name__
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        what += _free(path)
    if error.filename is not None and os.path.basename(os.fspath(path)) not in str(error.filename):
        what += f" ({error.filename!r})"
    advice = _ADVICE.get(error.errno or 0, "check the path")
    message = f"cannot {doing} '{os.fspath(path)}': {what}{state}. What to do: {advice}"
    explained = OSError(error.errno, message) if error.errno is not None else OSError(message)
    explained.functrain_path = os.fspath(path)  # type: ignore[attr-defined]
    return explained


def _free(path: str | os.PathLike[str]) -> str:
    """Return how much room is left on the disk of a local path, in words."""
    directory = os.path.abspath(_local(path))
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    with contextlib.suppress(OSError):
        usage = shutil.disk_usage(directory)
        return f" ({usage.free / 1e6:,.1f} MB of {usage.total / 1e6:,.1f} MB are free without it)"
    return ""


@contextlib.contextmanager
def explained(doing: str, path: str | os.PathLike[str], state: str = "") -> Iterator[None]:
    """Re-raise an OSError of the block so that it says: cannot `doing` `path`, why, and what to do."""
    try:
        yield
    except OSError as error:
        if getattr(error, "functrain_path", None) is not None:
            raise
        raise _explain(error, doing, path, state) from error


@contextlib.contextmanager
def _remote_temporary(path: str | os.PathLike[str]) -> Iterator[tuple[Any, str]]:
    """A name beside `path` on its own file system, moved onto it at the end, removed on any failure."""
    fs, inner = _filesystem(path)
    parent, _, name = inner.rstrip("/").rpartition("/")
    # fsspec takes what it moves for a pattern; what it moves to, as it is.
    plain = re.sub(r"[*?\[\]]", "_", name)
    temporary = f"{parent}/.{plain}.{secrets.token_hex(4)}{disk.TEMPORARY}"
    if parent:
        fs.makedirs(parent, exist_ok=True)
    try:
        yield fs, temporary
        _remote_replace(fs, temporary, inner.rstrip("/"))
    except BaseException:
        with contextlib.suppress(Exception):
            fs.rm(temporary, recursive=True)
        raise


def _remote_replace(fs: Any, new: str, path: str) -> None:
    if not fs.isdir(new):
        if fs.isdir(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        fs.mv(new, path)
        return
    aside = new.removesuffix(disk.TEMPORARY) + disk.ASIDE
    replacing = fs.exists(path)
    if replacing and glob.has_magic(path):
        raise OSError(errno.EINVAL, "a directory of a URL with '*', '?' or '[' in its name cannot be replaced")
    if replacing:
        fs.mv(path, aside, recursive=True)
    try:
        fs.mv(new, path, recursive=True)
    except BaseException:
        if replacing:
            fs.mv(aside, path, recursive=True)
        raise
    if replacing:
        fs.rm(aside, recursive=True)
