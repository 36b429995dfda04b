"""Checkpoints that are written while the run goes on: the thread that writes one, and what a run does once it is there.

One is written at a time in the whole process. The thread touches the file that it writes and nothing else: no hook, no
generator, no logger.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Protocol

_writing = threading.Lock()
"""Held while a write begins, and while the process forks."""

_last: InThread | None = None


class Saving(Protocol):
    """A checkpoint that is being written."""

    def done(self) -> bool:
        """Return whether it is over, well or not."""
        ...

    def wait(self) -> None:
        """Until it is on the disk under its name, whatever comes then. Raises what the write raised; what was there
        before is untouched then."""
        ...


class InThread:
    """What a thread writes; made by `in_thread`. See `Saving`."""

    def __init__(self, write: Callable[[], None]) -> None:
        self._write: Callable[[], None] | None = write
        self._error: BaseException | None = None
        self.over = threading.Event()
        # No daemon: a program that ends waits for it.
        self.thread = threading.Thread(target=self.call, name="functrain-saving", daemon=False)

    def call(self) -> None:
        write, self._write = self._write, None
        assert write is not None
        try:
            write()
        except BaseException as error:
            self._error = error
        finally:
            del write  # and the copy of the state with it
            self.over.set()

    def done(self) -> bool:
        """Return whether it is over, well or not."""
        return self.over.is_set()

    def wait(self) -> None:
        """Until it is over; raises what the write raised."""
        self.over.wait()
        if self._error is not None:
            raise self._error


class Written:
    """What was written before `save` returned. See `Saving`."""

    def done(self) -> bool:
        """Yes."""
        return True

    def wait(self) -> None:
        """For nothing."""


def in_thread(write: Callable[[], None]) -> InThread:
    """Call `write` in a thread, once what was being written before is over."""
    global _last
    saving = InThread(write)
    with _writing:
        _finish()
        try:
            saving.thread.start()
        except RuntimeError:  # the system has no thread to give, or the interpreter is shutting down
            saving.call()
        else:
            _last = saving
    return saving


def finish() -> None:
    """Wait until nothing is being written by this process. How it ended is told to the run that asked for it."""
    with _writing:
        _finish()


def _finish() -> None:
    global _last
    saving = _last
    if saving is not None and saving.thread is not threading.current_thread():
        saving.over.wait()
        saving.thread.join()
        _last = None


def _before_fork() -> None:
    """A child would have the locks that the thread holds, and nobody to let go of them."""
    _writing.acquire()
    _finish()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_writing.release, after_in_child=_writing.release)


class Writes:
    """The checkpoint that a run has under way, at most one, and what is to be done once it is there."""

    def __init__(self) -> None:
        self.path = ""
        self.waiting = False
        self._saving: Saving | None = None
        self._then: Callable[[BaseException | None], None] = _nothing

    def add(self, path: str, saving: Saving, then: Callable[[BaseException | None], None]) -> None:
        """`saving` writes to `path`; `then` is called when it is over, with the error where it failed. The one before
        is settled."""
        assert self._saving is None, "the next save waits"
        self.path, self._saving, self._then = path, saving, then

    def look(self) -> None:
        """Settle what is over by now."""
        if self._saving is not None and self._saving.done():
            self.settle()

    def settle(self) -> None:
        """Wait until nothing is under way, and do what follows. Raises what the write raised, once."""
        saving = self._saving
        if saving is None:
            return
        failure: BaseException | None = None
        self.waiting = True
        try:
            saving.wait()
        except BaseException as error:
            if not saving.done():
                raise  # it was the waiting that was interrupted
            failure = error
        finally:
            self.waiting = False
        if self._saving is not saving:
            return
        then, self._saving, self._then, self.path = self._then, None, _nothing, ""
        then(failure)
        if failure is not None:
            raise failure


def _nothing(error: BaseException | None) -> None:
    """There is nothing to be done."""
