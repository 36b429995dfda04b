"""LearningRateMonitor: logs the learning rates that the adapter reports, at log events only."""

from __future__ import annotations

from typing import Any

from functrain.trainer.callback import Callback
from functrain.trainer.errors import ConfigurationError


class LearningRateMonitor(Callback):
    """Logs the learning rate of every optimizer and parameter group.

    Args:
        logging_interval: 'step' logs with the step metrics, every `log_every_n_steps` updates; 'epoch' at the
            start of every training epoch; None both.
        log_momentum: also log momentum (torch) or the first decay rate of Adam and its kin.

    Attributes:
        lrs: name -> the values logged so far.

    Raises:
        ConfigurationError: another interval; at the start of a fit, a Trainer without a logger, or an engine
            that knows no momentum where `log_momentum` asks for it.
    """

    may_lag = True

    def __init__(self, logging_interval: str | None = None, log_momentum: bool = False) -> None:
        if logging_interval not in (None, "step", "epoch"):
            raise ConfigurationError(
                f"{type(self).__name__}(logging_interval={logging_interval!r}): must be 'step', 'epoch' or None."
            )
        self.logging_interval = logging_interval
        self.log_momentum = log_momentum
        self.lrs: dict[str, list[float]] = {}

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """A fit begins: is there a logger to write to?"""
        if stage != "fit" or trainer.fast_dev_run:
            return
        self.lrs = {}
        name = type(self).__name__
        if not trainer.loggers:
            raise ConfigurationError(
                f"{name}: the Trainer has no logger to write learning rates to; leave out "
                "logger=False, or the callback."
            )
        if self.log_momentum and trainer.run.inspector.momenta() is None:
            raise ConfigurationError(
                f"{name}(log_momentum=True): the momentum of {type(pl_module).__name__}'s optimizers cannot be known; "
                "leave log_momentum out."
            )

    def log_step(self, trainer: Any, pl_module: Any, metrics: dict[str, Any]) -> None:
        """Add the present values to the step metrics that are about to be written."""
        if self.logging_interval != "epoch" and not trainer.fast_dev_run:
            metrics.update(self._read(trainer))

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Log the values that the epoch begins with."""
        if self.logging_interval == "step" or trainer.fast_dev_run:
            return
        values = self._read(trainer)
        trainer.run.metrics.logged.update(values)
        for logger in trainer.run.writing_loggers:
            logger.log_metrics({**values, "epoch": float(trainer.current_epoch)}, step=trainer.global_step)

    def _read(self, trainer: Any) -> dict[str, float]:
        values = dict(trainer.run.inspector.rates())
        if self.log_momentum:
            values.update(trainer.run.inspector.momenta() or {})
        trainer.run.metrics.latest.update(values)
        for name, value in values.items():
            self.lrs.setdefault(name, []).append(value)
        return values
