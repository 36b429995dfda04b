"""What the Trainer gives to loggers, callbacks and whoever reads its metrics. Here values come to the host."""

from __future__ import annotations

import os
from typing import Any

from functrain.kernel.plan import passed
from functrain.kernel.state import Clock
from functrain.trainer.hooks import keyed, overrides
from functrain.trainer.planning import max_epochs

LOOK_UP_SECONDS = 0.5


class Outputs:
    """`callback_metrics`, `logged_metrics`, `progress_bar_metrics`, the loggers and directories of a Trainer."""

    book: Any
    engine: Any
    loop: Any
    stage: str | None
    hooks: Any
    flags: Any
    loggers: list[Any]
    callbacks: list[Any]
    module: Any
    sanity_checking: bool
    _deadline: float | None

    @property
    def callback_metrics(self) -> dict[str, Any]:
        """Everything logged so far, by name, as the framework's scalars."""
        metric = self.engine.metric if self.engine is not None else _same
        return {name: metric(value) for name, value in self.book.callback_metrics().items()}

    @property
    def logged_metrics(self) -> dict[str, Any]:
        """What was sent to the loggers last, and the last step's values that will be."""
        metric = self.engine.metric if self.engine is not None else _same
        return {name: metric(value) for name, value in {**self.book.logged, **self.book.step_metrics()}.items()}

    @property
    def progress_bar_metrics(self) -> dict[str, Any]:
        """What `prog_bar=True` asked for, as Python floats."""
        return {name: float(value) for name, value in self.book.progress_bar_metrics().items()}

    def write_step_metrics(self, flush: bool) -> None:
        """The log event: the last step's values to the loggers, which are written out where `flush` says so."""
        metrics = self.book.step_metrics()
        for callback in self.callbacks:
            log_step = getattr(callback, "log_step", None)
            if log_step is not None:
                log_step(self, self.module, metrics)
        self._to_loggers(metrics)
        if flush:
            for logger in self.loggers:
                logger.save()

    @property
    def logs_may_lag(self) -> bool:
        """May every logger and callback that gets step metrics get them later? Where one's own method does not say
        so, it may look at the run or stop it."""
        asked = [(callback, "log_step") for callback in self.callbacks if overrides(callback, "log_step")]
        asked += [(logger, "log_metrics") for logger in self.loggers]
        return all(_says(owner, "may_lag", method) for owner, method in asked)

    def write_evaluation_steps(self) -> None:
        """What `self.log(..., on_step=True)` gave in the last batches of an evaluation, to the loggers: a row a batch.

        Within a fit their step is the fit's, so that a run that continues knows which rows it will write again;
        elsewhere it is the batch.
        """
        rows = self.book.take_rows()
        if self.sanity_checking:
            return
        for number, metrics in rows.items():
            self._to_loggers(metrics, step=None if self.stage == "fit" else number)

    def publish(self, stage: str) -> None:
        """A stage's epoch is over: its values are computed, readable, and sent to the loggers."""
        if self.sanity_checking:
            self.book.closing = None
        else:
            self._to_loggers(self.book.publish(stage))

    def _to_loggers(self, metrics: dict[str, Any], step: int | None = None) -> None:
        self.book.logged.update(metrics)
        if not metrics or not self.loggers:
            return
        clock = self.engine.clock
        values = {name: float(value) for name, value in metrics.items()}
        values["epoch"] = float(clock.epoch)
        for logger in self.loggers:
            logger.log_metrics(values, step=clock.update if step is None else step)

    def _write_hyperparameters(self) -> None:
        hparams = dict(getattr(self.module, "hparams", None) or {})
        for logger in self.loggers:
            if hparams and getattr(self.module, "_log_hyperparams", True):
                logger.log_hyperparams(hparams)

    def _results(self, stage: str, loaders: int, verbose: bool) -> list[dict[str, float]]:
        """The metrics of an evaluation, a dict per loader, and a table of them on the terminal."""
        values = {name: float(value) for name, value in self.book.results.items()}
        results: list[dict[str, float]] = []
        for index in range(max(loaders, 1)):
            own = f"/dataloader_idx_{index}"
            results.append({k: v for k, v in values.items() if "/dataloader_idx_" not in k or k.endswith(own)})
        if verbose and values:
            for index, result in enumerate(results):
                print(f"{stage} results, loader {index}")
                for name, value in result.items():
                    print(f"  {name:<32} {value:.6g}")
        return results

    @property
    def logger(self) -> Any:
        """The first logger; None without one."""
        return self.loggers[0] if self.loggers else None

    @property
    def default_root_dir(self) -> str:
        """Where logs and checkpoints go."""
        return self.flags.default_root_dir or os.getcwd()

    @property
    def log_dir(self) -> str:
        """The first logger's directory of this run; without a logger, `default_root_dir`."""
        directory = getattr(self.logger, "log_dir", None)
        return directory if directory is not None else self.default_root_dir

    def _first_callback(self, has: str) -> Any:
        return next((callback for callback in self.callbacks if hasattr(callback, has)), None)

    @property
    def checkpoint_callback(self) -> Any:
        """The first callback that saves checkpoints; None without one."""
        return self._first_callback("best_model_path")

    @property
    def checkpoint_callbacks(self) -> list[Any]:
        """All callbacks that save checkpoints."""
        return [callback for callback in self.callbacks if hasattr(callback, "best_model_path")]

    @property
    def early_stopping_callback(self) -> Any:
        """The first callback that watches for an early stop; None without one."""
        return self._first_callback("stopped_epoch")

    @property
    def progress_bar_callback(self) -> Any:
        """The progress bar; None without one."""
        return self._first_callback("refresh_rate")

    def acting(self, name: str) -> list[tuple[str, Any]]:
        """What the callbacks do at one of the Trainer's own events, in order."""
        return [(key, getattr(c, name)) for key, c in keyed(self.callbacks) if overrides(c, name)]

    def passed(self, every: int) -> bool:
        """Has a multiple of so many updates been reached since the last dispatch of batches began?"""
        return self.loop is not None and passed(every, self.loop.before, self.engine.clock.update)

    def stands_at(self, then: Clock) -> bool:
        """Is this where the run stands? The end of an epoch and the start of the next are one place: to turn the clock
        trains nothing."""
        now = self.engine.clock
        turned = self.loop is not None and self.loop.turned == then and then.next_epoch() == now
        return then == now or turned

    @property
    def tick_seconds(self) -> float | None:
        """How often a callback wants to be looked at; None where none does."""
        wishes = [s for c in self.callbacks if (s := getattr(c, "tick_seconds", None)) is not None]
        return min(wishes, default=None)

    @property
    def look_up_seconds(self) -> float:
        """How often the loop comes back to the host at the least: for callbacks, for Ctrl-C, and for a limited time."""
        wish = self.tick_seconds or LOOK_UP_SECONDS
        return wish if self._deadline is None else min(wish, 0.1)

    def tick(self) -> None:
        """The host has control: callbacks that show progress may act."""
        for callback in self.callbacks:
            if getattr(callback, "tick_seconds", None) is not None:
                callback.tick(self, self.module)

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print from one process, above a progress bar."""
        bar = self.progress_bar_callback
        (bar.print if bar is not None else print)(*args, **kwargs)

    @property
    def max_epochs(self) -> int | None:
        """The limit in epochs; None for no limit."""
        return max_epochs(self.flags)


def _same(value: Any) -> Any:
    return value


def _says(owner: Any, name: str, method: str) -> bool:
    """Is this attribute true by the word of the class that defines the method, or of one below it?"""
    for known in (vars(owner), *map(vars, type(owner).__mro__)):
        if name in known or method in known:
            return bool(known.get(name, False))
    return False
