"""A file that grows by whole records. Touches that file only; a URL is written anew at every flush."""

from __future__ import annotations

import contextlib
import os
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from functrain import files


@dataclass
class _Held:
    """What has not been written yet; apart from its owner, so that it can be when the owner is gone."""

    path: str
    records: deque[bytes | Callable[[], bytes]] = field(default_factory=deque)
    process: int = 0
    uploaded: bytes | None = None  # of a URL, which cannot be appended to


class AppendFile:
    """Records for the end of a file. They are held back until `flush`, the owner's end, or the interpreter's.

    No handle stays open. A forked child starts with nothing, so it cannot repeat what its parent holds.
    A flush that fails, on a full disk for one, leaves no part of a record in the file and keeps all of them.

    Args:
        path: a local path or a URL, in a directory that exists.
    """

    def __init__(self, path: str) -> None:
        self._open(path)

    def _open(self, path: str) -> None:
        self._held = _Held(path)
        self._at_the_end = weakref.finalize(self, _write_out, self._held)

    @property
    def path(self) -> str:
        """Where the file is, or will be."""
        return self._held.path

    def append(self, record: bytes | Callable[[], bytes]) -> None:
        """Add a record to those held back, or what makes it when it is written: many at once are made faster than each
        between two steps."""
        if self._held.process != os.getpid():
            self._held.records.clear()
            self._held.process = os.getpid()
        self._held.records.append(record)

    def flush(self) -> None:
        """Hand everything held back to the operating system, or to the URL's store.

        Raises:
            OSError: it cannot be written. The message names the file and says what to do.
        """
        _write_out(self._held)

    def __getstate__(self) -> str:
        self.flush()
        return self.path

    def __setstate__(self, path: str) -> None:
        self._open(path)


def _write_out(held: _Held) -> None:
    if held.process != os.getpid():
        return
    records: list[bytes | Callable[[], bytes]] = []
    while held.records:
        records.append(held.records.popleft())
    if not records:
        return
    try:
        data = b"".join([record if isinstance(record, bytes) else record() for record in records])
        if files.is_remote(held.path):
            _upload(held, data)
        else:
            _append(held.path, data)
    except BaseException:
        held.records.extendleft(reversed(records))
        raise


def _append(path: str, data: bytes) -> None:
    with files.explained("append to", path, "; what was there before is untouched"):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            size = os.fstat(descriptor).st_size
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
            except BaseException:
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)


def _upload(held: _Held, data: bytes) -> None:
    before = held.uploaded
    if before is None:
        before = b""
        if files.exists(held.path):
            with files.open_read(held.path) as file:
                before = file.read()
    content = before + data
    with files.atomic_write(held.path) as file:
        file.write(content)
    held.uploaded = content
