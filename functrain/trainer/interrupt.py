"""Ctrl-C and SIGTERM: the first asks the run to end at the next batch, whole, and is answered at once; the second ends
it where it stands.

Touches the signal handlers, and standard error.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from functrain import files
from functrain.trainer.metrics import TRAIN
from functrain.trainer.run import Run

EXIT_TERMINATED = 128 + signal.SIGTERM
"""The exit code of a process whose run SIGTERM has ended: 143, as shells show it."""

DEFAULTS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
AGAIN = {
    signal.SIGINT: "Press Ctrl-C again to end it at once.",
    signal.SIGTERM: "A second SIGTERM ends the process at once.",
}


@contextmanager
def graceful(ask: Callable[[int], None], waits_for: Callable[[], str], compiled: bool = False) -> Generator[None]:
    """Within it the first SIGINT and the first SIGTERM call `ask`; the second does what it did before: SIGINT raises
    KeyboardInterrupt, SIGTERM ends the process.

    Only the main thread may take signals; in another one, and for a signal that has a handler of somebody else's,
    nothing changes. Processes that are forked within it take signals as if it were not there.

    Args:
        ask: is told the signal's number.
        waits_for: what is under way and is finished first, in words.
        compiled: the main thread may be away in compiled code for long, where no Python handler runs; a thread answers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = [number for number, default in DEFAULTS.items() if signal.getsignal(number) is default]
    process = os.getpid()
    answered: set[int] = set()

    def answer(number: int) -> None:
        if number in ours and number not in answered:
            answered.add(number)
            _tell(f"{_name(number)}: the run ends after {waits_for()}. {AGAIN[signal.Signals(number)]}")

    def handler(number: int, frame: Any) -> None:
        signal.signal(number, DEFAULTS[signal.Signals(number)])
        if os.getpid() != process:
            os.kill(os.getpid(), number)
        else:
            if not watched:
                answer(number)
            ask(number)

    with _watching(answer) if compiled and ours else contextlib.nullcontext(False) as watched:
        for number in ours:
            signal.signal(number, handler)
        try:
            yield
        finally:
            for number in ours:
                signal.signal(number, DEFAULTS[number])


@contextmanager
def _watching(answer: Callable[[int], None]) -> Generator[bool]:
    """A thread that is told of signals while the main thread is away; False where an event loop listens already."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    if before != -1:
        signal.set_wakeup_fd(before)
        os.close(reading)
        os.close(writing)
        yield False
        return

    def watch() -> None:
        while number := os.read(reading, 1)[0]:
            answer(number)

    _forget_in_children()
    thread = threading.Thread(target=watch, name="functrain-signals", daemon=True)
    thread.start()
    try:
        yield True
    finally:
        signal.set_wakeup_fd(before)
        os.write(writing, b"\0")
        thread.join()
        os.close(reading)
        os.close(writing)


_children = threading.Event()


def _forget_in_children() -> None:
    """A forked child shares the pipe; its signals are not this process'."""

    def forget() -> None:
        if _children.is_set():
            with contextlib.suppress(ValueError):
                signal.set_wakeup_fd(-1)

    if not _children.is_set() and hasattr(os, "register_at_fork"):
        _children.set()
        os.register_at_fork(after_in_child=forget)


def _name(number: int) -> str:
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def _tell(text: str) -> None:
    """Onto standard error, past its buffer, which the main thread may hold; a replaced one gets it as it comes."""
    with contextlib.suppress(OSError, ValueError, RuntimeError, AttributeError):
        if sys.stderr is sys.__stderr__:
            os.write(sys.stderr.fileno(), f"\n{text}\n".encode())
        else:
            print(f"\n{text}", file=sys.stderr, flush=True)


def under_way(run: Run) -> str:
    """What a run is doing, and ends before it stops."""
    metrics, loop = run.metrics, run.loop
    if run.writes.waiting:
        return f"{run.writes.path} is written"
    if run.phase == "set-up" and not run.sanity_checking:
        return "what is being set up"
    if run.phase == "end":
        return "its last hooks"
    if metrics.current.stage != TRAIN:
        return f"the {metrics.current.stage} {'batch' if metrics.current.step else 'hooks'} under way"
    if loop is not None and loop.in_step:
        return "the training batch under way" if loop.one_by_one else "the training batches under way"
    return "the hooks and checkpoints under way"


def ended(run: Run, in_training: bool) -> str:
    """Return what a fit says that was interrupted: where it stands, and what it can be continued from.

    Args:
        in_training: it was before the training had come to its own end.
    """
    clock = run.clock
    by = "SIGTERM" if run.stop.terminated else "Ctrl-C"
    if not in_training:
        return f"{by} came when the training was over, after {clock.update} updates: nothing of it is missing."
    place = f"in epoch {clock.epoch}, after batch {clock.batch} and"
    if not clock.batch:
        place = f"at the start of epoch {clock.epoch}, after"
    where = f"Stopped by {by} {place} {clock.update} updates."
    if run.saved is None or not files.exists(run.saved[0]):
        return f"{where} Nothing was saved."
    path, then = run.saved
    if run.stands_at(then):
        return f"{where} To continue: fit(..., ckpt_path={path!r})."
    return (
        f"{where} This state was not saved; to continue from epoch {then.epoch}, batch {then.batch}: "
        f"fit(..., ckpt_path={path!r})."
    )
