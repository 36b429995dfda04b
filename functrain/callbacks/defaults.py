"""What a Trainer has without being asked: the callbacks and loggers that its flags stand for."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from functrain.callbacks.checkpoint import ModelCheckpoint
from functrain.callbacks.early_stopping import EarlyStopping
from functrain.callbacks.lr_monitor import LearningRateMonitor
from functrain.callbacks.progress import TQDMProgressBar
from functrain.callbacks.summary import ModelSummary
from functrain.trainer.callback import Callback, Checkpoint, Progress
from functrain.trainer.errors import ConfigurationError, OlderNameWarning
from functrain.trainer.flags import Flags
from functrain.trainer.foreign import MetricsLogger

NOT_IN_A_DEV_RUN = (ModelCheckpoint, EarlyStopping, LearningRateMonitor)


def default_callbacks(trainer: Any) -> list[Callback]:
    """Return the callbacks that the flags ask for, beside those that the user gave.

    Also settles `trainer.user_callbacks`: `True` there (`early_stop_callback=True`) becomes an EarlyStopping
    on 'val_loss', and in a fast_dev_run those that save, stop and watch learning rates are left out.

    Raises:
        ConfigurationError: `checkpoint_callback=False` beside a ModelCheckpoint, or a value that is no callback.
    """
    flags: Flags = trainer.flags
    _check(trainer.user_callbacks)
    trainer.user_callbacks = [
        EarlyStopping("val_loss") if callback is True else callback for callback in trainer.user_callbacks
    ]
    made: list[Callback] = [
        *_checkpoints(flags.checkpoint_callback, trainer.user_callbacks),
        *_bars(flags, trainer.user_callbacks),
    ]
    if flags.weights_summary is not None and not _has(trainer.user_callbacks, ModelSummary):
        made.append(ModelSummary(flags.weights_summary))
    if flags.stochastic_weight_avg:
        made += trainer.averaging()
    if flags.fast_dev_run:
        trainer.user_callbacks = _for_a_dev_run(trainer.user_callbacks)
        made = _for_a_dev_run(made)
    return made


def _check(callbacks: Iterable[Any]) -> None:
    for callback in callbacks:
        if isinstance(callback, type | str | int | float) and callback is not True:
            name = callback.__name__ if isinstance(callback, type) else repr(callback)
            raise ConfigurationError(
                f"Trainer(callbacks=[{name}]): must be an instance of a Callback, such as EarlyStopping('val_loss')."
            )


def _has(callbacks: Iterable[Callback], kind: type) -> bool:
    return any(isinstance(callback, kind) for callback in callbacks)


def _for_a_dev_run(callbacks: Iterable[Callback]) -> list[Callback]:
    return [callback for callback in callbacks if not isinstance(callback, NOT_IN_A_DEV_RUN)]


def _checkpoints(flag: Any, given: Sequence[Callback]) -> list[Callback]:
    own = [callback for callback in given if isinstance(callback, Checkpoint)]
    if isinstance(flag, Checkpoint):
        warnings.warn(
            f"Trainer: a {type(flag).__name__} in the place of a flag is the older form: use "
            f"callbacks=[{type(flag).__name__}(...)].",
            OlderNameWarning,
            stacklevel=5,
        )
        return [flag] if flag not in own else []
    if flag not in (True, False, None):
        raise ConfigurationError(
            f"Trainer(checkpoint_callback={flag!r}): must be True, False or a ModelCheckpoint; paths go into "
            "ModelCheckpoint(dirpath=...)."
        )
    if flag is False and own:
        raise ConfigurationError(
            f"Trainer(checkpoint_callback={flag!r}, callbacks=[{type(own[0]).__name__}(...)]): these "
            "contradict each other; leave one out."
        )
    return [] if flag is False or own else [ModelCheckpoint()]


def _bars(flags: Flags, given: Sequence[Callback]) -> list[Callback]:
    if _has(given, Progress) or not flags.progress_bar_refresh_rate:
        return []
    return [TQDMProgressBar(flags.progress_bar_refresh_rate, flags.process_position)]


def default_loggers(trainer: Any, standard: Callable[[Any], Any]) -> list[Any]:
    """Return the loggers that the flags ask for: `standard(trainer)` for True, none for False and in a fast_dev_run.

    Raises:
        ConfigurationError: something that is no logger.
    """
    given = trainer.flags.logger
    wants_none = trainer.flags.fast_dev_run or given is None or given is False
    if wants_none:
        return []
    if given is True:
        return [standard(trainer)]
    loggers = [given] if isinstance(given, MetricsLogger) or not isinstance(given, Iterable) else list(given)
    for logger in loggers:
        if not isinstance(logger, MetricsLogger):
            raise ConfigurationError(
                f"Trainer(logger={given!r}): {type(logger).__name__} is no logger; give True, "
                "False, a Logger or a list of them."
            )
    return loggers
