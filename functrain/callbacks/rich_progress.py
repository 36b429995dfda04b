"""RichProgressBar: the progress bars drawn by rich. Imports rich when one is made; writes to stderr."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from functrain.callbacks.progress import EVALUATION, TRAINING, ProgressBarBase
from functrain.seed import isolate_rng
from functrain.trainer.errors import ConfigurationError


@dataclass(frozen=True)
class RichProgressBarTheme:
    """The styles of the parts of a RichProgressBar, as rich names them: colors, 'bold', 'dim', or a `rich.style.Style`.

    Attributes:
        description: 'Epoch 3', 'Validation', and so on.
        progress_bar, progress_bar_finished, progress_bar_pulse: the bar while it moves, in the end, and where nobody
            knows how long it will be.
        batch_progress: how many batches are done.
        time: how long it has taken.
        processing_speed: batches a second.
        metrics: what `prog_bar=True` asked for.
        metrics_text_delimiter: what stands between two metrics.
        metrics_format: how their numbers are written.
    """

    description: Any = ""
    progress_bar: Any = "bar.complete"
    progress_bar_finished: Any = "bar.finished"
    progress_bar_pulse: Any = "bar.pulse"
    batch_progress: Any = "progress.download"
    time: Any = "progress.elapsed"
    processing_speed: Any = "progress.data.speed"
    metrics: Any = ""
    metrics_text_delimiter: str = " "
    metrics_format: str = ".3g"


class RichProgressBar(ProgressBarBase):
    """As TQDMProgressBar, drawn by rich.

    Args:
        refresh_rate: redraw at most every so many batches; 0 for no bar.
        leave: keep the bar of every epoch, not only the last.
        theme: the styles of its parts.
        console_kwargs: what the `rich.console.Console` is made with, beside `stderr=True`.

    Attributes:
        progress: the `rich.progress.Progress` that is drawn; None where there is none.

    Raises:
        ConfigurationError: rich is not installed.
    """

    def __init__(
        self,
        refresh_rate: int = 1,
        leave: bool = False,
        theme: RichProgressBarTheme = RichProgressBarTheme(),
        console_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(refresh_rate)
        if find_spec("rich") is None:
            raise ConfigurationError(
                "RichProgressBar: the package 'rich' is not installed; install it (pip install rich), or use "
                "TQDMProgressBar."
            )
        self.leave = leave
        self.theme = theme
        self.console_kwargs = dict(console_kwargs or {})
        self.progress: Any = None
        self._tasks: dict[str, Any] = {}

    def configure_columns(self, trainer: Any) -> list[Any]:
        """Return the columns before that of the metrics: rich's columns, or texts. To be overridden."""
        progress, theme = _rich("progress"), self.theme
        bar = progress.BarColumn(
            complete_style=theme.progress_bar,
            finished_style=theme.progress_bar_finished,
            pulse_style=theme.progress_bar_pulse,
        )
        return [
            progress.TextColumn("{task.description}", style=theme.description or "none"),
            bar,
            _styled(progress.MofNCompleteColumn, theme.batch_progress),
            _styled(progress.TimeElapsedColumn, theme.time),
            _speed(progress.ProgressColumn, theme.processing_speed),
        ]

    @property
    def main_progress_bar(self) -> Any:
        """The training's `rich.progress.Task`; None where there is none."""
        return self._task(TRAINING)

    train_progress_bar = main_progress_bar

    @property
    def val_progress_bar(self) -> Any:
        """The evaluation's task; None where there is none."""
        return self._task(EVALUATION)

    val_sanity_check_bar = test_progress_bar = predict_progress_bar = val_progress_bar

    def refresh(self) -> None:
        """Redraw now."""
        if self.progress is not None:
            self.progress.refresh()

    def open(self, track: str, text: str, total: int | None, done: int) -> None:
        """Make the bar, or begin it anew."""
        if self.progress is None:
            self.progress = self._make()
            self.progress.start()
        task = self._tasks.get(track)
        if task is not None and not self.leave:
            self.progress.reset(task, total=total, completed=done, description=text, metrics="")
        else:
            self._tasks[track] = self.progress.add_task(text, total=total, completed=done, metrics="")
        self.progress.refresh()

    def move(self, track: str, done: int, metrics: dict[str, Any]) -> None:
        """Redraw."""
        write, between = self.theme.metrics_format, self.theme.metrics_text_delimiter
        shown = between.join(f"{k}={v:{write}}" if isinstance(v, float) else f"{k}={v}" for k, v in metrics.items())
        self.progress.update(self._tasks[track], completed=done, metrics=shown, refresh=True)

    def close(self, track: str) -> None:
        """Leave the training's bar as it stands, and clear the evaluation's."""
        task = self._tasks.pop(track)
        if track == EVALUATION:
            self.progress.remove_task(task)
        if not self._tasks:
            self.progress.stop()
            self.progress = None

    def write(self, text: str, file: Any) -> None:
        """Print above the bars."""
        if file.isatty():
            self.progress.console.print(text, end="", markup=False, highlight=False, soft_wrap=True)
        else:
            file.write(text)

    def _task(self, track: str) -> Any:
        tasks = [] if self.progress is None else self.progress.tasks
        return next((task for task in tasks if task.id == self._tasks.get(track)), None)

    def _make(self) -> Any:
        progress = _rich("progress")
        return progress.Progress(
            *self.configure_columns(self.trainer),
            progress.TextColumn("{task.fields[metrics]}", markup=False, style=self.theme.metrics or "none"),
            console=_rich("console").Console(stderr=True, **self.console_kwargs),
            auto_refresh=False,
            # What goes into a file must not end up on the screen.
            redirect_stdout=sys.stdout.isatty(),
        )


def _rich(name: str) -> Any:
    with isolate_rng():  # rich draws from Python's generator when it is imported
        return import_module(f"rich.{name}")


def _styled(column: Any, style: Any) -> Any:
    """Return a column of rich in another style."""

    class Styled(column):
        def render(self, task: Any) -> Any:
            return _rich("text").Text(super().render(task).plain, style=style)

    return Styled()


def _speed(base: Any, style: Any) -> Any:
    """Return a column of batches a second."""

    class Speed(base):
        def render(self, task: Any) -> Any:
            return _rich("text").Text(f"{task.speed or 0.0:.2f}it/s", style=style)

    return Speed()
