"""BasePredictionWriter: what `predict` gives is written to wherever a subclass says, batch by batch or at the end."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from functrain.trainer.callback import Callback
from functrain.trainer.errors import ConfigurationError


class WriteInterval(StrEnum):
    """When predictions are written."""

    BATCH = "batch"
    EPOCH = "epoch"
    BATCH_AND_EPOCH = "batch_and_epoch"

    @property
    def on_batch(self) -> bool:
        """Are they written after every batch?"""
        return self != WriteInterval.EPOCH

    @property
    def on_epoch(self) -> bool:
        """Are they written when all loaders are through?"""
        return self != WriteInterval.BATCH


class BasePredictionWriter(Callback):
    """Writes predictions: subclass it, and define `write_on_batch_end`, `write_on_epoch_end` or both.

    With `trainer.predict(..., return_predictions=False)` and `write_interval='batch'` no prediction is kept in memory.

    Args:
        write_interval: 'batch', 'epoch' or 'batch_and_epoch'.

    Attributes:
        interval: the same as a `WriteInterval`.

    Raises:
        ConfigurationError: another interval; at the start of a prediction, a method that it needs is not defined.
    """

    wants_batch_indices = True

    def __init__(self, write_interval: str = "batch") -> None:
        if write_interval not in list(WriteInterval):
            raise ConfigurationError(
                f"{type(self).__name__}(write_interval={write_interval!r}): must be 'batch', 'epoch' or "
                "'batch_and_epoch'."
            )
        self.interval = WriteInterval(write_interval)
        self._given: list[list[tuple[Any, Sequence[int] | None]]] = []

    # what a subclass defines

    def write_on_batch_end(
        self,
        trainer: Any,
        pl_module: Any,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write what the step gave for one batch.

        Args:
            batch_indices: the numbers of the batch's samples in their data set; None where the loader does not tell.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no write_on_batch_end.")

    def write_on_epoch_end(
        self, trainer: Any, pl_module: Any, predictions: Sequence[Any], batch_indices: Sequence[Any]
    ) -> None:
        """Write all predictions.

        Args:
            predictions: what the steps gave, a list per loader where there are several.
            batch_indices: a list per loader, also of one, that holds for every batch the numbers of its samples.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no write_on_epoch_end.")

    # when

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """A stage begins: is there what will be called?"""
        needed = {
            "write_on_batch_end": self.interval.on_batch,
            "write_on_epoch_end": self.interval.on_epoch,
        }
        for name, is_needed in needed.items():
            if is_needed and stage == "predict" and getattr(type(self), name) is getattr(BasePredictionWriter, name):
                raise ConfigurationError(
                    f"{type(self).__name__}(write_interval={self.interval.value!r}): define {name}, or give another "
                    "write_interval."
                )

    def on_predict_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Write it, or keep it for the end."""
        indices = trainer.run.batch_indices
        if self.interval.on_batch:
            self.write_on_batch_end(trainer, pl_module, outputs, indices, batch, batch_idx, dataloader_idx)
        if self.interval.on_epoch:
            if batch_idx == dataloader_idx == 0:
                self._given = []
            while len(self._given) <= dataloader_idx:
                self._given.append([])
            self._given[dataloader_idx].append((outputs, indices))

    def on_predict_epoch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        """Write them all."""
        if not self.interval.on_epoch:
            return
        given, self._given = self._given, []
        predictions = [[output for output, _ in loader] for loader in given]
        indices = [[numbers for _, numbers in loader] for loader in given]
        self.write_on_epoch_end(trainer, pl_module, predictions[0] if len(predictions) == 1 else predictions, indices)
