"""Ctrl-C: the first asks the run to end at the next batch, whole; the second raises at once.

Touches the signal handler.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from functrain.kernel.state import Clock


@contextmanager
def graceful(on_first: Callable[[], None]) -> Iterator[None]:
    """Within it the first SIGINT calls `on_first`, and a second one raises KeyboardInterrupt where it finds the
    program.

    Only the main thread may take signals; in another one, and where a handler of somebody else's stands, nothing
    changes.
    """
    standing = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or standing is not signal.default_int_handler:
        yield
        return

    def handler(signum: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, standing)
        on_first()

    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, standing)


def interrupted_at(clock: Clock, saver: Any) -> str:
    """What a run says that Ctrl-C has ended: where it stands, and what it can be continued from."""
    paths = (getattr(saver, name, "") for name in ("last_model_path", "best_model_path"))
    saved = next((path for path in paths if path), None)
    where = f"Stopped by Ctrl-C in epoch {clock.epoch}, after batch {clock.batch} and {clock.update} updates."
    return where if saved is None else f"{where} To continue: fit(..., ckpt_path={str(saved)!r})."
