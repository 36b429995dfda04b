"""The learning-rate range test: train a little while the rate rises, and see where the loss falls most."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from functrain.trainer.callback import Callback
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.narrow import is_count, is_mapping, is_number
from functrain.trainer.trainer import Trainer
from functrain.tuner.attributes import Attribute
from functrain.tuner.trials import SHORT, Data, check_interrupted, without_trace

BETA = 0.98
"""How much of the running mean of the loss stays at every update."""

Mode: TypeAlias = Literal["exponential", "linear"]
SetRate: TypeAlias = Callable[[int, float], None]


class LRFinder:
    """What a range test has found.

    Attributes:
        results: 'lr', the rates, and 'loss', the running mean of the loss after the update at each of them.
        mode, lr_min, lr_max, num_training: as the test was asked for.
    """

    def __init__(self, mode: Mode, lr_min: float, lr_max: float, num_training: int) -> None:
        self.mode, self.lr_min, self.lr_max, self.num_training = mode, lr_min, lr_max, num_training
        self.results: dict[str, list[float]] = {"lr": [], "loss": []}

    def _index(self, skip_begin: int, skip_end: int) -> int | None:
        losses = np.asarray(self.results["loss"], dtype=np.float64)
        places = np.arange(len(losses))[skip_begin : len(losses) - skip_end]
        places = places[np.isfinite(losses[places])]
        if len(places) < 2:
            return None
        return int(places[np.gradient(losses[places]).argmin()])

    def suggestion(self, skip_begin: int = 10, skip_end: int = 1) -> float | None:
        """Return the rate at which the loss falls most from one update to the next.

        None, with a warning, where fewer than two losses are left to compare.

        Args:
            skip_begin: leave out so many rates at the start, where the running mean is not settled.
            skip_end: leave out so many at the end, where the loss may have begun to rise.
        """
        index = self._index(skip_begin, skip_end)
        if index is None:
            warnings.warn(
                f"lr_find: {len(self.results['lr'])} rates were tried, of which skip_begin={skip_begin} and "
                f"skip_end={skip_end} leave fewer than two with a finite loss, so none is suggested; raise "
                "num_training, or lower max_lr where the loss diverged early.",
                UserWarning,
                stacklevel=2,
            )
            return None
        return self.results["lr"][index]

    def plot(self, suggest: bool = False, show: bool = False, ax: Any = None) -> Any:
        """Draw the loss over the rates; returns the figure of matplotlib.

        Args:
            suggest: mark the suggested rate.
            show: open it in a window.
            ax: the axes to draw on; default: those of a new figure.

        Raises:
            ConfigurationError: matplotlib is not installed.
        """
        try:
            import matplotlib.pyplot as plt
        except ImportError:
            raise ConfigurationError(
                "lr_find.plot: matplotlib draws it, and is not installed: pip install matplotlib."
            ) from None
        axes: Any = plt.subplots()[1] if ax is None else ax
        rates, losses = self.results["lr"], self.results["loss"]
        axes.plot(rates, losses)
        if self.mode == "exponential":
            axes.set_xscale("log")
        axes.set_xlabel("Learning rate")
        axes.set_ylabel("Loss")
        index = self._index(10, 1) if suggest else None
        if index is not None:
            axes.plot(rates[index], losses[index], markersize=10, marker="o", color="red")
        if show:
            plt.show()
        return axes.figure


def rates(mode: str, lowest: float, highest: float, number: int) -> list[float]:
    """Return the rates of a test, which rise from the lowest to the highest by equal factors or by equal steps; the
    first is the lowest itself."""
    parts = [(i + 1) / number if i else 0.0 for i in range(number)]
    if mode == "linear":
        return [lowest + part * (highest - lowest) for part in parts]
    return [lowest * (highest / lowest) ** part for part in parts]


class _Recorder(Callback):
    """Sets the rate of each update and keeps the loss after it; ends the fit where the loss diverges.

    Args:
        rates: those of the updates, in order.
        set_rate: is told the number of an update and its rate.
        threshold: the loss diverges where it is so many times the least; None for any loss.
    """

    def __init__(self, rates: Sequence[float], set_rate: SetRate, threshold: float | None) -> None:
        self.planned, self.set_rate, self.threshold = rates, set_rate, threshold
        self.rates: list[float] = []
        self.losses: list[float] = []
        self._window: list[float] = []
        self._update = 0
        self._mean, self._least = 0.0, math.inf

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Set the rate of the update that this batch is of."""
        self._update = trainer.global_step
        self.set_rate(self._update, self.planned[self._update])

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Keep the loss; of several batches an update their mean."""
        loss = outputs.get("loss") if is_mapping(outputs) else outputs
        if loss is not None:
            self._window.append(float(loss))
        if trainer.global_step == self._update or not self._window:
            return
        self._keep(sum(self._window) / len(self._window), self.planned[self._update])
        self._window.clear()
        if self._diverges():
            trainer.should_stop = True
        self._least = min(self._least, self.losses[-1])

    def _keep(self, loss: float, rate: float) -> None:
        self._mean = BETA * self._mean + (1 - BETA) * loss
        self.rates.append(rate)
        self.losses.append(self._mean / (1 - BETA ** len(self.rates)))

    def _diverges(self) -> bool:
        if self.threshold is None or len(self.losses) == 1:
            return False
        return not self.losses[-1] <= self.threshold * self._least


def lr_find(
    trainer: Trainer,
    module: Any,
    data: Data,
    finder: LRFinder,
    attribute: Attribute | None,
    threshold: float | None,
) -> None:
    """Fill the finder's results by a short fit, of which nothing else is left.

    Args:
        attribute: the learning rate of the module, where it is known.
        threshold: end where the loss is so many times the least; None for never.
    """
    planned = rates(finder.mode, finder.lr_min, finder.lr_max, finder.num_training)
    with without_trace(trainer, module, data):
        sweep = trainer.run.sweep if trainer.run is not None else None
        if sweep is None:
            raise ConfigurationError(
                f"lr_find: {type(module).__name__} is of an adapter that cannot set the rate of its optimizers."
            )
        name = None if attribute is None else attribute.name
        with sweep(planned, name) as set_rate:
            recorder = _Recorder(planned, set_rate, threshold)
            flags = {**SHORT, "max_steps": len(planned), "limit_val_batches": 0, "terminate_on_nan": False}
            with trainer.stacked(callbacks=[recorder], **flags):
                trainer.fit(module, data.train, data.val, data.datamodule)
                check_interrupted(trainer)
    finder.results = trainer.world.broadcast({"lr": recorder.rates, "loss": recorder.losses})


def check(lowest: Any, highest: Any, number: Any, mode: str, threshold: Any) -> None:
    """Look at the arguments of a range test.

    Raises:
        ConfigurationError: one cannot be; names it.
    """
    are_rates = is_number(lowest) and is_number(highest) and 0 < lowest < highest
    if not are_rates:
        raise ConfigurationError(
            f"lr_find(min_lr={lowest!r}, max_lr={highest!r}): must be numbers, 0 < min_lr < max_lr."
        )
    if not is_count(number, 2):
        raise ConfigurationError(f"lr_find(num_training={number!r}): must be an int, at least 2.")
    if mode not in ("exponential", "linear"):
        raise ConfigurationError(f"lr_find(mode={mode!r}): must be 'exponential' or 'linear'.")
    if threshold is not None and not (is_number(threshold) and threshold > 0):
        raise ConfigurationError(f"lr_find(early_stop_threshold={threshold!r}): must be a number > 0, or None.")
