"""LightningDataModule: data preparation and loaders in one object."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Self

from torch.utils.data import DataLoader, IterableDataset

from functrain.trainer.checkpoint import check_format
from functrain.trainer.hparams import HyperparametersMixin
from functrain.trainer.load import made
from functrain.trainer.module_hooks import DataHooks
from functrain_torch import ckpt
from functrain_torch.module import hparams_of
from functrain_torch.transfer import TransferHooks


class LightningDataModule(TransferHooks, DataHooks, HyperparametersMixin):
    """Define `prepare_data`, `setup(stage)` and the loaders that you need.

    Give it to `trainer.fit(model, datamodule=...)`.
    """

    trainer: Any = None

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of this object: plain values and tensors."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""

    @classmethod
    def load_from_checkpoint(
        cls,
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: str | os.PathLike[str] | None = None,
        weights_only: bool | None = None,
        **kwargs: Any,
    ) -> Self:
        """Make a data module of this class from a checkpoint, ours or pytorch_lightning's: its stored hyperparameters,
        then its state.

        Args:
            checkpoint_path: a path, any fsspec URL, or a file object.
            map_location: of no effect: tensors of its state are on the CPU.
            hparams_file: take the hyperparameters from this YAML (or .csv of tags) file instead.
            weights_only: of no effect: tensors and plain values are read, and nothing in the file may run code.
            kwargs: arguments of `__init__`, in place of the stored ones.

        Raises:
            CheckpointError: the file is damaged.
        """
        hparams = hparams_of(hparams_file, cls.__name__)
        saved = check_format(ckpt.read(checkpoint_path), str(checkpoint_path))
        module = made(cls, saved, kwargs, hparams, "datamodule_hyper_parameters", "datamodule_hparams")
        state = saved.get("datamodule", saved.get(cls.__qualname__))
        if state:
            module.load_state_dict(state)
        return module

    @classmethod
    def from_datasets(
        cls,
        train_dataset: Any = None,
        val_dataset: Any = None,
        test_dataset: Any = None,
        predict_dataset: Any = None,
        batch_size: int = 1,
        num_workers: int = 0,
    ) -> Self:
        """Return a data module of data sets.

        Args:
            train_dataset: what is trained on, in a new order in every epoch: a data set, or a list or a dict of them.
            val_dataset, test_dataset, predict_dataset: each a data set, or a list or a dict of them.
            batch_size, num_workers: of all loaders; see `torch.utils.data.DataLoader`.
        """
        module = cls()

        def loader(dataset: Any, shuffle: bool = False) -> Any:
            if isinstance(dataset, list | tuple):
                return [loader(one, shuffle) for one in dataset]
            if isinstance(dataset, Mapping):
                return {name: loader(one, shuffle) for name, one in dataset.items()}
            shuffle = shuffle and not isinstance(dataset, IterableDataset)
            return DataLoader(dataset, batch_size=batch_size, shuffle=shuffle, num_workers=num_workers)

        if train_dataset is not None:
            module.train_dataloader = lambda: loader(train_dataset, True)
        if val_dataset is not None:
            module.val_dataloader = lambda: loader(val_dataset)
        if test_dataset is not None:
            module.test_dataloader = lambda: loader(test_dataset)
        if predict_dataset is not None:
            module.predict_dataloader = lambda: loader(predict_dataset)
        return module
