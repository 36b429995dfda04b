"""LearningRateMonitor: what it logs, where, and its errors."""

from __future__ import annotations

import pytest
import torch

from functrain.trainer.errors import ConfigurationError, OlderNameWarning
from functrain_torch.callbacks import LearningRateLogger, LearningRateMonitor
from functrain_torch.loggers import CSVLogger
from tests import inside
from tests.callbacks.helpers import Scripted, by_epoch, fit


class Halving(Scripted):
    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.8, momentum=0.5)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]


class Recording(CSVLogger):
    """Remembers what it was given."""

    def __init__(self, directory):
        super().__init__(str(directory))
        self.rows = []

    def log_metrics(self, metrics, step=None):
        rates = {name: value for name, value in metrics.items() if name.startswith("lr")}
        if rates:
            self.rows.append((step, *rates.values()))
        super().log_metrics(metrics, step)


@pytest.mark.parametrize(
    ("interval", "rows"),
    [
        ("epoch", [(0, 0.8), (4, 0.4)]),
        ("step", [(2, 0.8), (4, 0.8), (6, 0.4), (8, 0.4)]),
        (None, [(0, 0.8), (2, 0.8), (4, 0.8), (4, 0.4), (6, 0.4), (8, 0.4)]),
    ],
)
def test_rates_are_logged(make, tmp_path, interval, rows):
    logger = Recording(tmp_path)
    callback = LearningRateMonitor(interval)
    trainer = fit(make(callback, logger=logger, max_epochs=2, log_every_n_steps=2), Halving(by_epoch(1, 1)))
    assert logger.rows == [pytest.approx(row) for row in rows]
    ((name, values),) = callback.lrs.items()
    assert values == pytest.approx([row[1] for row in rows])
    assert float(trainer.callback_metrics[name]) == pytest.approx(0.4)
    assert float(trainer.logged_metrics[name]) == pytest.approx(0.4)


def test_it_keeps_dispatches_long(make, tmp_path):
    trainer = fit(make(LearningRateMonitor(), logger=Recording(tmp_path), max_epochs=1), Halving(by_epoch(1)))
    assert not inside.per_batch(trainer)


def test_without_a_logger(make):
    with pytest.raises(ConfigurationError, match="no logger to write learning rates to"):
        fit(make(LearningRateMonitor(), max_epochs=1), Halving(by_epoch(1)))
    fit(make(LearningRateMonitor(), fast_dev_run=True), Halving(by_epoch(1)))


def test_the_older_name():
    with pytest.warns(OlderNameWarning, match="LearningRateMonitor"):
        callback = LearningRateLogger("step")
    assert isinstance(callback, LearningRateMonitor)
    assert callback.logging_interval == "step"


def test_an_impossible_interval():
    with pytest.raises(ConfigurationError, match="logging_interval='batch'"):
        LearningRateMonitor("batch")


def test_momentum_beside_the_rate(make, tmp_path):
    callback = LearningRateMonitor("epoch", log_momentum=True)
    trainer = fit(make(callback, logger=Recording(tmp_path), max_epochs=1), Halving(by_epoch(1)))
    assert float(trainer.callback_metrics["lr-SGD-momentum"]) == 0.5
