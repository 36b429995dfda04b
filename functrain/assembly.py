"""The composition root: hands the Trainer its default callbacks and loggers, and its tuner, which it must not import
itself."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import functrain.profilers  # noqa: F401  those that the flag names
from functrain.callbacks.defaults import default_callbacks, default_loggers
from functrain.loggers import CSVLogger, TensorBoardLogger
from functrain.trainer import trainer as core
from functrain.trainer.callback import Callback
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.foreign import RunLogger
from functrain.trainer.loaders import either
from functrain.tuner import Tuner, tuner

LOGS = "lightning_logs"


def standard_logger(trainer: Any) -> Any:
    """TensorBoard in `default_root_dir`; CSV files, with a warning, where tensorboardX is not installed."""
    if find_spec("tensorboardX") is None:
        warnings.warn(
            "tensorboardX is not installed, so metrics go to CSV files; install it (pip install "
            "tensorboardX), or give Trainer(logger=CSVLogger(...)).",
            UserWarning,
            stacklevel=2,
        )
        return CSVLogger(trainer.default_root_dir, name=LOGS)
    return TensorBoardLogger(trainer.default_root_dir, name=LOGS)


def default_callbacks_and_loggers(trainer: Any) -> tuple[list[Callback], list[RunLogger]]:
    """Callbacks and loggers of a Trainer, from its flags."""
    return default_callbacks(trainer), default_loggers(trainer, standard_logger)


class Trainer(core.Trainer):
    """The Trainer with its default callbacks and loggers."""

    def defaults(self) -> tuple[list[Callback], list[RunLogger]]:
        """Return the callbacks and loggers that the flags ask for."""
        return default_callbacks_and_loggers(self)

    @property
    def tuner(self) -> Tuner:
        """Finds learning rates and batch sizes by short fits."""
        return Tuner(self)

    def tune(
        self,
        model: Any,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: Any = None,
        scale_batch_size_kwargs: Mapping[str, Any] | None = None,
        lr_find_kwargs: Mapping[str, Any] | None = None,
        *,
        train_dataloader: Any = None,
    ) -> dict[str, Any]:
        """Find what the flags auto_scale_batch_size and auto_lr_find ask for, and set it in the module.

        Args:
            train_dataloaders, val_dataloaders, datamodule: as for `fit`.
            scale_batch_size_kwargs: further arguments of `tuner.scale_batch_size`.
            lr_find_kwargs: further arguments of `tuner.lr_find`.
            train_dataloader: the older name of `train_dataloaders`.

        Returns:
            'scale_batch_size' with the size and 'lr_find' with the `LRFinder`, those that were asked for.
        """
        train = either("train_dataloaders", train_dataloaders, "train_dataloader", train_dataloader)
        return tuner.tune(self, model, train, val_dataloaders, datamodule, scale_batch_size_kwargs, lr_find_kwargs)

    def averaging(self) -> list[Callback]:
        """Return the callback that `stochastic_weight_avg` asks for; functrain_torch's Trainer has one."""
        raise ConfigurationError(
            "Trainer(stochastic_weight_avg=True): only functrain_torch's Trainer averages weights by itself; use that "
            "for a torch module, and leave the flag out for others."
        )


__all__ = ["Trainer", "default_callbacks_and_loggers", "standard_logger"]
