"""Progress bars: what to show and when, and the bar drawn by tqdm. Writes to stderr.

No hook of a batch is used, so a bar never brings the host in at every batch: it looks at the position when
the Trainer has control anyway, at most every `TICK_SECONDS`, and that is also when the metrics that it shows
come to the host.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from typing import Any

from functrain.callbacks.monitor import cut_short
from functrain.trainer.callback import Progress
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.events import Moment
from functrain.trainer.foreign import HasVersion
from functrain.trainer.narrow import is_count

TICK_SECONDS = 0.1
TRAINING, EVALUATION = "training", "evaluation"


class ProgressBarBase(Progress):
    """What every progress bar does; a subclass draws.

    Where the output is no terminal nothing is drawn; a line is printed at the end of each epoch.

    Args:
        refresh_rate: redraw at most every so many batches; 0 for no bar.
        process_position: which bar this is where several trainers run side by side, from 0.

    Raises:
        ConfigurationError: an argument that is no int >= 0.
    """

    def __init__(self, refresh_rate: int = 1, process_position: int = 0) -> None:
        for name, value in (("refresh_rate", refresh_rate), ("process_position", process_position)):
            if not is_count(value):
                raise ConfigurationError(f"{type(self).__name__}({name}={value!r}): must be an int >= 0.")
        self.refresh_rate = refresh_rate
        self.process_position = process_position
        self.enabled = refresh_rate > 0
        self._live = False
        self._tracks: list[str] = []
        self._drawn = 0.0
        self._shown = 0
        self._started = time.monotonic()

    # what a subclass draws

    def open(self, track: str, text: str, total: int | None, done: int) -> None:
        """Show a bar for 'training' or 'evaluation', which may be open: `done` of `total` batches (None: unknown)."""
        raise NotImplementedError

    def move(self, track: str, done: int, metrics: dict[str, Any]) -> None:
        """So many batches are done."""
        raise NotImplementedError

    def close(self, track: str) -> None:
        """The bar is over; one of an evaluation vanishes."""
        raise NotImplementedError

    def write(self, text: str, file: Any) -> None:
        """Print a text above the open bars."""
        raise NotImplementedError

    def get_metrics(self, trainer: Any, pl_module: Any) -> dict[str, Any]:
        """Return what stands beside the bar: the logger's version, and what `prog_bar=True` asked for. To be
        overridden."""
        version = trainer.logger.version if isinstance(trainer.logger, HasVersion) else None
        return {**({} if version is None else {"v_num": version}), **trainer.progress_bar_metrics}

    # what users call

    def disable(self) -> None:
        """Draw nothing from the next stage on."""
        self.enabled = False

    def enable(self) -> None:
        """Draw again from the next stage on."""
        self.enabled = True

    def print(self, *args: Any, sep: str = " ", end: str = "\n", file: Any = None) -> None:
        """As `print`, above the bar."""
        if self._tracks:
            self.write(sep.join(str(arg) for arg in args) + end, file or sys.stdout)
        else:
            print(*args, sep=sep, end=end, file=file)

    # when

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """A stage begins: is somebody looking? Otherwise the Trainer need not come by."""
        self._live = self.enabled and self.is_terminal()
        self.tick_seconds = TICK_SECONDS if self._live else None

    def is_terminal(self) -> bool:
        """Return whether the output is one that a line can be redrawn on."""
        return sys.stderr.isatty() or "ipykernel" in sys.modules

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """A stage ends, however it ended."""
        for track in reversed(list(self._tracks)):
            self._close(track)

    def tick(self, trainer: Any, pl_module: Any) -> None:
        """The host has control: redraw if it is time."""
        now = time.monotonic()
        if not self._tracks or now - self._drawn < TICK_SECONDS:
            return
        self._drawn = now
        if self._tracks[-1] == EVALUATION:
            done = trainer.run.evaluated
            self.move(EVALUATION, done, {})
        elif abs(trainer.run.clock.batch - self._shown) >= self.refresh_rate:
            self._shown = trainer.run.clock.batch
            self.move(TRAINING, self._shown, self.get_metrics(trainer, pl_module))

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Open the bar; a run that continues is somewhere within an epoch."""
        self._open_epoch(trainer)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """The bar begins anew."""
        self._open_epoch(trainer)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """All batches of the epoch are seen; its metrics are not computed yet."""
        self._shown = trainer.run.clock.batch

    def should_stop(self, trainer: Any, pl_module: Any, moment: Moment) -> None:
        """Stop nothing: this is when an epoch's metrics are computed and can be shown."""
        if moment != "epoch" or not self.enabled:
            return
        metrics = self.get_metrics(trainer, pl_module)
        if TRAINING in self._tracks:
            self.move(TRAINING, self._shown, metrics)
        elif not self._live:
            self._line(trainer.current_epoch, cut_short(trainer, moment), metrics)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """The bar of the last epoch stays."""
        self._close(TRAINING)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Open the evaluation's bar."""
        self._open(EVALUATION, "Sanity check" if trainer.sanity_checking else "Validation", trainer)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Close the evaluation's bar."""
        self._close(EVALUATION)

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        """Open the evaluation's bar."""
        self._open(EVALUATION, "Test", trainer)

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        """Close the evaluation's bar."""
        self._close(EVALUATION)

    def on_predict_start(self, trainer: Any, pl_module: Any) -> None:
        """Open the evaluation's bar."""
        self._open(EVALUATION, "Predict", trainer)

    def on_predict_end(self, trainer: Any, pl_module: Any) -> None:
        """Close the evaluation's bar."""
        self._close(EVALUATION)

    def _open_epoch(self, trainer: Any) -> None:
        clock = trainer.run.clock
        self._started = time.monotonic()
        self._open(TRAINING, f"Epoch {clock.epoch}", trainer)
        self._shown = clock.batch

    def _open(self, track: str, text: str, trainer: Any) -> None:
        if not self._live:
            return
        if track == TRAINING:
            total, done = trainer.run.plan.batches, trainer.run.clock.batch
        else:
            total, done = trainer.run.evaluation_batches, 0
        self.open(track, text, total, done)
        if track not in self._tracks:
            self._tracks.append(track)

    def _close(self, track: str) -> None:
        if track in self._tracks:
            self._tracks.remove(track)
            self.close(track)

    def _line(self, epoch: int, cut: bool, metrics: dict[str, Any]) -> None:
        """The line of an epoch where no bar can be drawn."""
        shown = ", ".join(f"{name} {_short(value)}" for name, value in metrics.items())
        seconds = time.monotonic() - self._started
        end = " (cut short)" if cut else ""
        line = f"Epoch {epoch}{end}: {self._shown} batches, {seconds:.1f} s{', ' if shown else ''}{shown}"
        print(line, file=sys.stderr, flush=True)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class TQDMProgressBar(ProgressBarBase):
    """A bar for the training epoch, and one below it while an evaluation runs, drawn by tqdm.

    Args:
        refresh_rate: redraw at most every so many batches; 0 for no bar.
        process_position: which pair of lines the bars take, from 0, where several trainers run side by side.
    """

    def __init__(self, refresh_rate: int = 1, process_position: int = 0) -> None:
        super().__init__(refresh_rate, process_position)
        self._bars: dict[str, Any] = {}

    def open(self, track: str, text: str, total: int | None, done: int) -> None:
        """Make the bar, or begin it anew."""
        bar = self._bars.get(track)
        if bar is None:
            self._bars[track] = self._make(track, text, total, done)
            return
        bar.total, bar.initial, bar.n = total, done, done
        bar.start_t = bar.last_print_t = time.time()
        bar.set_postfix({}, refresh=False)
        bar.set_description(text)

    def _make(self, track: str, text: str, total: int | None, done: int) -> Any:
        from tqdm import tqdm

        class Bar(tqdm):
            # Nothing here waits for tqdm's thread that redraws slow bars.
            monitor_interval = 0

        # Some terminals say that they have no columns (a container's, a notebook's); tqdm would draw nothing there.
        size = None if _has_a_size() else shutil.get_terminal_size()
        below = track == EVALUATION
        return Bar(
            desc=text,
            total=total,
            initial=done,
            position=2 * self.process_position + below,
            leave=not below,
            file=sys.stderr,
            dynamic_ncols=size is None,
            ncols=size and size.columns,
            nrows=size and size.lines,
            smoothing=0,
            unit="batch",
        )

    def move(self, track: str, done: int, metrics: dict[str, Any]) -> None:
        """Redraw."""
        bar = self._bars[track]
        bar.n = done
        bar.set_postfix(metrics, refresh=False)
        bar.refresh()

    def close(self, track: str) -> None:
        """Leave the training's bar as it stands, and clear the evaluation's."""
        self._bars.pop(track).close()

    def write(self, text: str, file: Any) -> None:
        """Print above the bars."""
        from tqdm import tqdm

        tqdm.write(text, file=file, end="")


def _has_a_size() -> bool:
    try:
        return min(os.get_terminal_size(sys.stderr.fileno())) > 0
    except (AttributeError, OSError, ValueError):
        return False


ProgressBar = TQDMProgressBar
