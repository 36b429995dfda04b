"""`Tuner(trainer)`, as scripts of the 2.x generation make it; `trainer.tuner` is that of the older ones."""

from __future__ import annotations

from typing import Any

from functrain import tuner
from functrain.assembly import Trainer
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.loaders import either
from functrain.tuner import LRFinder
from functrain.tuner.lr_find import Mode


class Tuner:
    """Tries learning rates and batch sizes by short fits; see `functrain.tuner.Tuner`, whose `lr_find` sets nothing
    unless it is told to."""

    def __init__(self, trainer: Trainer) -> None:
        self._tuner = tuner.Tuner(trainer)

    def lr_find(
        self,
        model: Any,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        dataloaders: Any = None,
        datamodule: Any = None,
        method: str = "fit",
        min_lr: float = 1e-8,
        max_lr: float = 1,
        num_training: int = 100,
        mode: Mode = "exponential",
        early_stop_threshold: float | None = 4.0,
        update_attr: bool = True,
        attr_name: str = "",
    ) -> LRFinder | None:
        """Train while the learning rate rises, set the module's to the suggestion, and return the losses.

        The arguments are those of `functrain.tuner.Tuner.lr_find`; `method` can be 'fit' only, and `dataloaders` is
        another name of `train_dataloaders`.
        """
        _check_method("lr_find", method)
        return self._tuner.lr_find(
            model, either("train_dataloaders", train_dataloaders, "dataloaders", dataloaders), val_dataloaders,
            datamodule, min_lr, max_lr, num_training, mode, early_stop_threshold, update_attr, attr_name=attr_name,
        )  # fmt: skip

    def scale_batch_size(
        self,
        model: Any,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        dataloaders: Any = None,
        datamodule: Any = None,
        method: str = "fit",
        mode: str = "power",
        steps_per_trial: int = 3,
        init_val: int = 2,
        max_trials: int = 25,
        batch_arg_name: str = "batch_size",
    ) -> int | None:
        """Find the largest batch size that fits into memory, set it, and return it.

        The arguments are those of `functrain.tuner.Tuner.scale_batch_size`; `method` can be 'fit' only.
        """
        _check_method("scale_batch_size", method)
        return self._tuner.scale_batch_size(
            model, either("train_dataloaders", train_dataloaders, "dataloaders", dataloaders), val_dataloaders,
            datamodule, mode, steps_per_trial, init_val, max_trials, batch_arg_name,
        )  # fmt: skip


def _check_method(what: str, method: str) -> None:
    if method != "fit":
        raise ConfigurationError(f"{what}(method={method!r}): short fits are tried; leave it out.")


__all__ = ["LRFinder", "Tuner"]
