"""What loggers get when a fit begins: the hyperparameters of module and data, and the graph."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import functrain_torch as pl
from functrain.trainer.hparams import load_hparams_yaml
from functrain_torch.loggers import CSVLogger, TensorBoardLogger
from tests.loggers.runs import batches

event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


class Net(pl.LightningModule):
    def __init__(self, width: int = 3, batch_size: int = 2):
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Sequential(nn.Linear(width, 1), nn.Dropout(0.5))
        self.example_input_array = torch.ones(2, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer(x)
        self.log("mean", y.mean())
        return y

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self(batch[0]).square().mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Data(pl.LightningDataModule):
    def __init__(self, batch_size: int = 2, folder: str = "there", logger: bool = True):
        super().__init__()
        self.save_hyperparameters(ignore="logger", logger=logger)

    def train_dataloader(self) -> Any:
        return batches(2)


def fitted(logger: Any, data: Any = None, **flags: Any) -> Net:
    pl.seed_everything(1)
    net, quiet = Net(), {"checkpoint_callback": False, "progress_bar_refresh_rate": 0, "weights_summary": None}
    trainer = pl.Trainer(logger=logger, max_epochs=1, log_every_n_steps=1, **quiet, **flags)
    trainer.fit(net, *([batches(2)] if data is None else []), datamodule=data)
    return net


def test_a_graph_is_recorded_where_the_logger_was_told_to(tmp_path: Path):
    logger = TensorBoardLogger(tmp_path, log_graph=True)
    net = fitted(logger)
    tags = event_accumulator.EventAccumulator(logger.log_dir).Reload().Tags()
    assert tags["graph"]
    assert "mean" in tags["scalars"]
    plain = TensorBoardLogger(tmp_path)
    other = fitted(plain)
    assert not event_accumulator.EventAccumulator(plain.log_dir).Reload().Tags()["graph"]
    assert all(torch.equal(one, two) for one, two in zip(net.parameters(), other.parameters(), strict=True))


def test_hyperparameters_of_the_data_are_beside_those_of_the_module(tmp_path: Path):
    logger = CSVLogger(tmp_path)
    fitted(logger, Data())
    wanted = {"width": 3, "batch_size": 2, "folder": "there"}
    assert dict(load_hparams_yaml(Path(logger.log_dir, "hparams.yaml"))) == wanted


def test_two_values_of_one_name_are_an_error_unless_one_is_kept_back(tmp_path: Path):
    with pytest.raises(pl.ConfigurationError, match="'batch_size' is 2 of Net and 4 of Data"):
        fitted(CSVLogger(tmp_path), Data(batch_size=4))
    logger = CSVLogger(tmp_path)
    fitted(logger, Data(batch_size=4, logger=False))
    assert dict(load_hparams_yaml(Path(logger.log_dir, "hparams.yaml"))) == {"width": 3, "batch_size": 2}
