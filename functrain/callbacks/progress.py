"""Progress bars: what to show and when, and the bar drawn by tqdm. Writes to stderr.

No hook of a batch is used, so a bar never brings the host in at every batch: it looks at the position when
the Trainer has control anyway, at most every `TICK_SECONDS`, and that is also when the metrics that it shows
come to the host.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any

from functrain.callbacks.monitor import cut_short
from functrain.kernel.plan import in_turn
from functrain.trainer.callback import Progress
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.events import Moment
from functrain.trainer.foreign import HasVersion
from functrain.trainer.narrow import is_count

TICK_SECONDS = 0.1
TRAINING, EVALUATION = "training", "evaluation"


class ProgressBarBase(Progress):
    """What every progress bar does; a subclass draws.

    A subclass either defines `open`, `move`, `close` and `write`, which are called when there is something to draw; or
    it draws in hooks of its own, with what the properties tell. Where the output is no terminal the former are not
    called; a line is printed at the end of each epoch.

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
        self._live = self._draws = False
        self._tracks: list[str] = []
        self._drawn = 0.0
        self._shown = 0
        self._started = time.monotonic()
        self._trainer: Any = None
        self._loader: int | None = None

    # what a subclass draws

    def open(self, track: str, text: str, total: int | None, done: int) -> None:
        """Show a bar for 'training' or 'evaluation', which may be open: `done` of `total` batches (None: unknown)."""

    def move(self, track: str, done: int, metrics: dict[str, Any]) -> None:
        """So many batches are done."""

    def close(self, track: str) -> None:
        """The bar is over; one of an evaluation vanishes."""

    def write(self, text: str, file: Any) -> None:
        """Print a text above the open bars."""
        print(text, end="", file=file)

    def get_metrics(self, trainer: Any, pl_module: Any) -> dict[str, Any]:
        """Return what stands beside the bar: the logger's version, and what `prog_bar=True` asked for. To be
        overridden."""
        return {**get_standard_metrics(trainer, pl_module), **trainer.progress_bar_metrics}

    # what a subclass may ask

    @property
    def trainer(self) -> Any:
        """The Trainer of the run.

        Raises:
            TypeError: no run has begun.
        """
        if self._trainer is None:
            raise TypeError(f"{type(self).__name__}.trainer: it is known from the start of a run on.")
        return self._trainer

    @property
    def sanity_check_description(self) -> str:
        """What the bar of the sanity check is called."""
        return "Sanity check"

    @property
    def train_description(self) -> str:
        """What the training bar is called before an epoch has begun."""
        return "Training"

    @property
    def validation_description(self) -> str:
        """What the bar of a validation is called."""
        return "Validation"

    @property
    def test_description(self) -> str:
        """What the bar of the test is called."""
        return "Test"

    @property
    def predict_description(self) -> str:
        """What the bar of a prediction is called."""
        return "Predict"

    @property
    def train_batch_idx(self) -> int:
        """How many batches of the epoch are done."""
        return self.trainer.run.clock.batch

    @property
    def val_batch_idx(self) -> int:
        """How many batches of the present validation loader are done."""
        return self._done()

    @property
    def test_batch_idx(self) -> int:
        """How many batches of the present test loader are done."""
        return self._done()

    @property
    def predict_batch_idx(self) -> int:
        """How many batches of the present predict loader are done."""
        return self._done()

    @property
    def total_train_batches(self) -> int | float:
        """How many batches an epoch has; infinite where that is not known."""
        return _or_infinite(self.trainer.run.plan.batches)

    @property
    def total_val_batches_current_dataloader(self) -> int | float:
        """How many batches the present validation loader has; infinite where that is not known."""
        return self._total()

    @property
    def total_test_batches_current_dataloader(self) -> int | float:
        """How many batches the present test loader has; infinite where that is not known."""
        return self._total()

    @property
    def total_predict_batches_current_dataloader(self) -> int | float:
        """How many batches the present predict loader has; infinite where that is not known."""
        return self._total()

    @property
    def total_val_batches(self) -> int | float:
        """How many batches a validation of this epoch has over all loaders; 0 in an epoch without one."""
        run = self.trainer.run
        if run.stage != "fit":
            return _or_infinite(run.evaluation_batches)
        if run.val is None or not in_turn(run.plan, run.clock):
            return 0
        return sum(_or_infinite(limit) for limit in run.val[1])

    @property
    def is_enabled(self) -> bool:
        """Is there a bar?"""
        return self.enabled and self.refresh_rate > 0

    @property
    def is_disabled(self) -> bool:
        """Is there none?"""
        return not self.is_enabled

    def has_dataloader_changed(self, dataloader_idx: int) -> bool:
        """Return whether this is another loader than the last time, and remember it."""
        before, self._loader = self._loader, dataloader_idx
        return before != dataloader_idx

    def reset_dataloader_idx_tracker(self) -> None:
        """Forget which loader it was."""
        self._loader = None

    def _done(self) -> int:
        return self.trainer.run.evaluated - self.trainer.run.evaluated_before

    def _total(self) -> int | float:
        return _or_infinite(self.trainer.run.loader_batches)

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
        self._trainer = trainer
        self._draws = type(self).open is not ProgressBarBase.open
        self._live = self._draws and self.enabled and self.is_terminal()
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
        if moment != "epoch" or not self.enabled or not self._draws:
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
        text = self.sanity_check_description if trainer.sanity_checking else self.validation_description
        self._open(EVALUATION, text, trainer)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Close the evaluation's bar."""
        self._close(EVALUATION)

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        """Open the evaluation's bar."""
        self._open(EVALUATION, self.test_description, trainer)

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        """Close the evaluation's bar."""
        self._close(EVALUATION)

    def on_predict_start(self, trainer: Any, pl_module: Any) -> None:
        """Open the evaluation's bar."""
        self._open(EVALUATION, self.predict_description, trainer)

    def on_predict_end(self, trainer: Any, pl_module: Any) -> None:
        """Close the evaluation's bar."""
        self._close(EVALUATION)

    def _open_epoch(self, trainer: Any) -> None:
        clock = trainer.run.clock
        self._started = time.monotonic()
        self._open(TRAINING, f"Epoch {clock.epoch}", trainer)
        self._shown = clock.batch

    def _open(self, track: str, text: str, trainer: Any) -> None:
        self._loader = None
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


def get_standard_metrics(trainer: Any, pl_module: Any) -> dict[str, Any]:
    """Return what stands beside every bar: the logger's version as 'v_num', where there is one."""
    version = trainer.logger.version if isinstance(trainer.logger, HasVersion) else None
    return {} if version is None else {"v_num": version}


def _or_infinite(count: int | None) -> int | float:
    return math.inf if count is None else count


def convert_inf(x: int | float | None) -> int | None:
    """Return a number of batches as tqdm takes it: None for an infinite one."""
    return None if x is None or x in (math.inf, -math.inf) or x != x else int(x)


class TQDMProgressBar(ProgressBarBase):
    """A bar for the training epoch, and one below it while an evaluation runs, drawn by tqdm.

    To have other bars, override `init_train_tqdm` and its like, which make them.

    Args:
        refresh_rate: redraw at most every so many batches; 0 for no bar.
        process_position: which pair of lines the bars take, from 0, where several trainers run side by side.
        leave: keep the bar of every epoch, not only the last.
    """

    def __init__(self, refresh_rate: int = 1, process_position: int = 0, leave: bool = False) -> None:
        super().__init__(refresh_rate, process_position)
        self.leave = leave
        self._bars: dict[str, Any] = {}

    # the bars, made anew for each training and each evaluation

    def init_train_tqdm(self) -> Any:
        """Return the bar of a training, a tqdm."""
        return self._make(self.train_description, self.total_train_batches, below=False, leave=True)

    def init_sanity_tqdm(self) -> Any:
        """Return the bar of the sanity check."""
        return self._make_evaluation(self.sanity_check_description)

    def init_validation_tqdm(self) -> Any:
        """Return the bar of a validation."""
        return self._make_evaluation(self.validation_description)

    def init_test_tqdm(self) -> Any:
        """Return the bar of the test."""
        return self._make_evaluation(self.test_description)

    def init_predict_tqdm(self) -> Any:
        """Return the bar of a prediction."""
        return self._make_evaluation(self.predict_description)

    def _make_evaluation(self, text: str) -> Any:
        return self._make(text, _or_infinite(self.trainer.run.evaluation_batches), below=True, leave=False)

    def _make(self, text: str, total: int | float, below: bool, leave: bool) -> Any:
        from functrain.callbacks.tqdm_bar import Tqdm

        # Some terminals say that they have no columns (a container's, a notebook's); tqdm would draw nothing there.
        size = None if _has_a_size() else shutil.get_terminal_size()
        return Tqdm(
            desc=text,
            total=convert_inf(total),
            position=2 * self.process_position + below,
            leave=leave,
            file=sys.stderr,
            dynamic_ncols=size is None,
            ncols=size and size.columns,
            nrows=size and size.lines,
            smoothing=0,
            unit="batch",
        )

    @property
    def main_progress_bar(self) -> Any:
        """The training bar; one that draws nothing where there is none."""
        return self._bar(TRAINING)

    @main_progress_bar.setter
    def main_progress_bar(self, bar: Any) -> None:
        self._take(TRAINING, bar)

    train_progress_bar = main_progress_bar

    @property
    def val_progress_bar(self) -> Any:
        """The evaluation's bar; one that draws nothing where there is none."""
        return self._bar(EVALUATION)

    @val_progress_bar.setter
    def val_progress_bar(self, bar: Any) -> None:
        self._take(EVALUATION, bar)

    test_progress_bar = predict_progress_bar = val_progress_bar

    def _bar(self, track: str) -> Any:
        from functrain.callbacks.tqdm_bar import Tqdm

        return self._bars[track] if track in self._bars else Tqdm(disable=True)

    def _take(self, track: str, bar: Any) -> None:
        """A subclass has made a bar by itself."""
        before = self._bars.get(track)
        if before is not None and before is not bar:
            before.close()
        self._bars[track] = bar
        if track not in self._tracks:
            self._tracks.append(track)

    # what is drawn

    def open(self, track: str, text: str, total: int | None, done: int) -> None:
        """Make the bar, or begin it anew."""
        bar = self._bars.get(track)
        if bar is not None and track == TRAINING and self.leave and bar.n:
            bar.close()
            bar = None
        if bar is None:
            bar = self._bars[track] = self._init(track)()
        bar.total, bar.initial, bar.n = total, done, done
        bar.start_t = bar.last_print_t = time.time()
        bar.set_postfix({}, refresh=False)
        if track == TRAINING:
            bar.set_description(text)
        else:
            bar.refresh()

    def _init(self, track: str) -> Callable[[], Any]:
        if track == TRAINING:
            return self.init_train_tqdm
        if self.trainer.sanity_checking:
            return self.init_sanity_tqdm
        of_stage = {"test": self.init_test_tqdm, "predict": self.init_predict_tqdm}
        return of_stage.get(self.trainer.run.stage, self.init_validation_tqdm)

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
