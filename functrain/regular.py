"""Files that are what they seem: regular ones, reached without a link. For names that were only read in a file."""

from __future__ import annotations

import errno
import os
import stat
from typing import IO

from functrain import files

_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def open_regular(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a regular file for reading, or a URL; never through a link, and without waiting for a FIFO or a device.

    Raises:
        OSError: it is missing, unreadable or something else than a regular file. The message names it.
    """
    if files.is_remote(path):
        return files.open_read(path)
    with files.explained("read", path):
        descriptor = os.open(os.fspath(path).removeprefix("file://"), _FLAGS)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return open(descriptor, "rb")
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")


def is_regular(path: str, below: str) -> bool:
    """Return whether a local file or directory is there, in the directory `below`, with no link among the names from
    there on."""
    start = below.rstrip(os.sep) + os.sep
    if not path.startswith(start):
        return False
    names = path.removeprefix(start).split(os.sep)
    for i in range(1, len(names) + 1):
        try:
            mode = os.lstat(os.path.join(start, *names[:i])).st_mode
        except (OSError, ValueError):
            return False
        leads_elsewhere = not stat.S_ISDIR(mode) and not (i == len(names) and stat.S_ISREG(mode))
        if leads_elsewhere:
            return False
    return True
