"""`trainer.tuner`: what a user calls to find a learning rate or a batch size."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from functrain.trainer.errors import ConfigurationError
from functrain.trainer.loaders import either
from functrain.trainer.trainer import Trainer
from functrain.tuner import batch_size, lr_find
from functrain.tuner.attributes import Attribute, find
from functrain.tuner.lr_find import LRFinder, Mode
from functrain.tuner.trials import data_of

NAMES = ("lr", "learning_rate")
"""The names of a learning rate that need not be said."""


class Tuner:
    """Tries learning rates and batch sizes by short fits, after which everything is as it was."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def lr_find(
        self,
        model: Any,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: Any = None,
        min_lr: float = 1e-8,
        max_lr: float = 1,
        num_training: int = 100,
        mode: Mode = "exponential",
        early_stop_threshold: float | None = 4.0,
        update_attr: bool = False,
        *,
        attr_name: str = "",
        train_dataloader: Any = None,
    ) -> LRFinder | None:
        """Train while the learning rate rises, and return the losses; None under fast_dev_run.

        Args:
            train_dataloaders, val_dataloaders, datamodule: as for `trainer.fit`.
            min_lr: the first rate.
            max_lr: the last.
            num_training: how many rates are tried, an update each.
            mode: 'exponential', by equal factors, or 'linear', by equal steps.
            early_stop_threshold: end where the loss is so many times the least so far; None for never.
            update_attr: set the module's learning rate to the suggestion.
            attr_name: what it is called; default: the name that Trainer(auto_lr_find=...) gives, else 'lr' or
                'learning_rate', as an attribute or a hyperparameter.
            train_dataloader: the older name of `train_dataloaders`.

        Raises:
            ConfigurationError: an argument cannot be, the module has several optimizers or steps them itself, or there
                is no attribute to set.
        """
        lr_find.check(min_lr, max_lr, num_training, mode, early_stop_threshold)
        train = either("train_dataloaders", train_dataloaders, "train_dataloader", train_dataloader)
        data = data_of("lr_find", train, val_dataloaders, datamodule)
        if self._is_skipped("lr_find"):
            return None
        attribute = self._rate(model, data.datamodule, attr_name, update_attr)
        finder = LRFinder(mode, float(min_lr), float(max_lr), num_training)
        lr_find.lr_find(self.trainer, model, data, finder, attribute, early_stop_threshold)
        suggested = finder.suggestion() if update_attr else None
        if suggested is not None and attribute is not None:
            attribute.set(suggested)
            self.trainer.print(f"lr_find: {attribute} = {suggested:.4g}.")
        return finder

    def _rate(self, model: Any, datamodule: Any, name: str, needed: bool) -> Attribute | None:
        flag = self.trainer.flags.auto_lr_find
        name = name or (flag if isinstance(flag, str) else "")
        if name or needed:
            return find("lr_find", [name] if name else NAMES, model, datamodule)
        found = [Attribute(each, model, datamodule) for each in NAMES]
        return next((each for each in found if each.is_there), None)

    def scale_batch_size(
        self,
        model: Any,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: Any = None,
        mode: str = "power",
        steps_per_trial: int = 3,
        init_val: int = 2,
        max_trials: int = 25,
        batch_arg_name: str = "batch_size",
    ) -> int | None:
        """Find the largest batch size that fits into memory, set it, and return it; None under fast_dev_run.

        A size is tried by a fit of a few steps. The loaders are asked for anew each time, so they must come from the
        module or data module, and look at the attribute.

        Args:
            mode: 'power' doubles the size until it does not fit; 'binsearch' then closes in on the largest that does.
            steps_per_trial: the updates of a try.
            init_val: the first size.
            max_trials: try at most so many larger sizes.
            batch_arg_name: what the attribute or hyperparameter is called.

        Raises:
            ConfigurationError: an argument cannot be, loaders were given, there is no such attribute, several processes
                train together, or not even one sample fits.
        """
        batch_size.check(mode, steps_per_trial, init_val, max_trials)
        data = data_of("scale_batch_size", train_dataloaders, val_dataloaders, datamodule)
        if data.train is not None:
            raise ConfigurationError(
                "scale_batch_size: a loader was given, whose batches have their size already; give a module or data "
                f"module whose train_dataloader() makes batches of self.{batch_arg_name}."
            )
        if self.trainer.world.size > 1:
            raise ConfigurationError(
                f"scale_batch_size: {self.trainer.world.size} processes train together, and a process that runs out of "
                "memory leaves the others waiting; find the size in one process, as each has its own memory."
            )
        attribute = find("scale_batch_size", [batch_arg_name], model, data.datamodule)
        if self._is_skipped("scale_batch_size"):
            return None
        found = batch_size.scale(
            self.trainer, model, data, attribute, mode, steps_per_trial, init_val, max_trials
        )  # fmt: skip
        self.trainer.print(f"scale_batch_size: {attribute} = {found}.")
        return found

    def _is_skipped(self, what: str) -> bool:
        if self.trainer.flags.fast_dev_run:
            warnings.warn(
                f"{what}: skipped, since Trainer(fast_dev_run=...) only tries whether everything runs.",
                UserWarning,
                stacklevel=3,
            )
        return bool(self.trainer.flags.fast_dev_run)


def tune(
    trainer: Trainer,
    model: Any,
    train_dataloaders: Any,
    val_dataloaders: Any,
    datamodule: Any,
    scale_batch_size_kwargs: Mapping[str, Any] | None,
    lr_find_kwargs: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What `Trainer.tune` does: the batch size first, as the learning rate depends on it."""
    tuner, flags = Tuner(trainer), trainer.flags
    given = {"train_dataloaders": train_dataloaders, "val_dataloaders": val_dataloaders, "datamodule": datamodule}
    found: dict[str, Any] = {}
    if flags.auto_scale_batch_size:
        mode = flags.auto_scale_batch_size if isinstance(flags.auto_scale_batch_size, str) else "power"
        kwargs = {"mode": mode, **given, **(scale_batch_size_kwargs or {})}
        found["scale_batch_size"] = tuner.scale_batch_size(model, **kwargs)
    if flags.auto_lr_find:
        kwargs = {"update_attr": True, **given, **(lr_find_kwargs or {})}
        found["lr_find"] = tuner.lr_find(model, **kwargs)
    if not found:
        warnings.warn(
            "trainer.tune: neither Trainer(auto_lr_find=...) nor Trainer(auto_scale_batch_size=...) asks for anything, "
            "so nothing was done.",
            UserWarning,
            stacklevel=3,
        )
    return found
