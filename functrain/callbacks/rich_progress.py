"""RichProgressBar: the progress bars drawn by rich. Imports rich when one is made; writes to stderr."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from functrain.callbacks.progress import EVALUATION, ProgressBarBase
from functrain.seed import isolate_rng
from functrain.trainer.errors import ConfigurationError


class RichProgressBar(ProgressBarBase):
    """As TQDMProgressBar, drawn by rich.

    Args:
        refresh_rate: redraw at most every so many batches; 0 for no bar.
        leave: keep the bar of every epoch, not only the last.

    Raises:
        ConfigurationError: rich is not installed.
    """

    def __init__(self, refresh_rate: int = 1, leave: bool = False) -> None:
        super().__init__(refresh_rate)
        if find_spec("rich") is None:
            raise ConfigurationError(
                "RichProgressBar: the package 'rich' is not installed; install it (pip install rich), or use "
                "TQDMProgressBar."
            )
        self.leave = leave
        self._progress: Any = None
        self._tasks: dict[str, Any] = {}

    def open(self, track: str, text: str, total: int | None, done: int) -> None:
        """Make the bar, or begin it anew."""
        if self._progress is None:
            self._progress = _make()
            self._progress.start()
        task = self._tasks.get(track)
        if task is not None and not self.leave:
            self._progress.reset(task, total=total, completed=done, description=text, metrics="")
        else:
            self._tasks[track] = self._progress.add_task(text, total=total, completed=done, metrics="")
        self._progress.refresh()

    def move(self, track: str, done: int, metrics: dict[str, Any]) -> None:
        """Redraw."""
        shown = " ".join(f"{k}={v:.3g}" if isinstance(v, float) else f"{k}={v}" for k, v in metrics.items())
        self._progress.update(self._tasks[track], completed=done, metrics=shown, refresh=True)

    def close(self, track: str) -> None:
        """Leave the training's bar as it stands, and clear the evaluation's."""
        task = self._tasks.pop(track)
        if track == EVALUATION:
            self._progress.remove_task(task)
        if not self._tasks:
            self._progress.stop()
            self._progress = None

    def write(self, text: str, file: Any) -> None:
        """Print above the bars."""
        if file.isatty():
            self._progress.console.print(text, end="", markup=False, highlight=False, soft_wrap=True)
        else:
            file.write(text)


def _make() -> Any:
    with isolate_rng():  # rich draws from Python's generator when it is imported
        progress, console = import_module("rich.progress"), import_module("rich.console")
    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("{task.fields[metrics]}", markup=False),
        console=console.Console(stderr=True),
        auto_refresh=False,
        # What goes into a file must not end up on the screen.
        redirect_stdout=sys.stdout.isatty(),
    )
