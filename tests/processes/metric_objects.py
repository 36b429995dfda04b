"""Metric objects and rows of single evaluation steps, in runs whose processes have different data."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any

from functrain import Callback
from functrain.loggers import CSVLogger
from tests.processes import programs


def objects(folder: str, first: float, counts: Any, logs_in: str = "all", **flags: Any) -> dict[str, Any]:
    """A fit with several kinds of metric objects, of torch; what is known in its end.

    Args:
        counts: how many batches each validation loader has.
        logs_in: 'all' batches, or in 'none'.
    """
    import torch
    import torchmetrics

    class Lists(torchmetrics.Metric):
        """Keeps a list that nothing brings together."""

        def __init__(self) -> None:
            super().__init__()
            self.add_state("seen", [], dist_reduce_fx=None)

        def update(self, value):
            self.seen.append(value)

        def compute(self):
            return torch.stack(self.seen).sum()

    class Module(programs.Line):
        def __init__(self) -> None:
            super().__init__()
            self.train_mean = torchmetrics.MeanMetric()
            self.mean, self.most = torchmetrics.MeanMetric(), torchmetrics.MaxMetric()
            self.cat = torchmetrics.CatMetric()
            self.total = self.mean + self.most
            self.own = torchmetrics.MeanMetric(sync_on_compute=False)
            self.both = torchmetrics.MetricCollection({"mse": torchmetrics.MeanSquaredError()})
            self.lists = Lists()
            self.outside = {"mean": torchmetrics.MeanMetric()}

        def training_step(self, batch, batch_idx):
            self.train_mean(batch)
            self.log("train_mean", self.train_mean, on_step=False, on_epoch=True)
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            if logs_in == "none":
                return
            if logs_in == "lists":
                self.lists.update(batch.sum())
                self.log("lists", self.lists)
                return
            for name in ("mean", "most", "own"):
                self.log(name, getattr(self, name)(batch) and getattr(self, name))
            self.cat.update(batch)
            self.log("total", self.total)
            self.outside["mean"](batch)
            self.log("outside", self.outside["mean"])
            self.both(batch, torch.zeros_like(batch))
            self.log_dict(self.both)

        def on_validation_epoch_end(self):
            self.seen = self.cat.compute().numel() if self.cat.update_called else 0

    made = programs.trainer(folder, max_epochs=1, **flags)
    with warnings.catch_warnings(record=True) as told, contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("always")
        module = Module()
        made.fit(module, programs.Batches(3, first, 2), [programs.Batches(n, first, 2) for n in counts])
    return {
        "known": {name: float(value) for name, value in made.callback_metrics.items()},
        "left": module.mean.update_called, "seen": module.seen, "warnings": [str(each.message) for each in told],
    }  # fmt: skip


def rows(folder: str, first: float, count: int, sync_dist: bool) -> str:
    """A validation within a fit and one alone, whose steps are logged one by one. Returns where."""

    class Module(programs.Line):
        def validation_step(self, batch, batch_idx):
            for reduce_fx in programs.REDUCTIONS:
                self.log(reduce_fx, batch.mean(), on_step=True, reduce_fx=reduce_fx, sync_dist=sync_dist)

    logger = CSVLogger(folder, name="logs")
    made = programs.trainer(folder, logger=logger, max_epochs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.validate(Module(), programs.Batches(count, first), verbose=False)
    return logger.log_dir


def in_a_hook(folder: str, first: float) -> dict[str, Any]:
    """An object of nobody's library, logged in a hook."""

    class Mean:
        def compute(self) -> float:
            return first

        def reset(self) -> None:
            pass

    class Logs(Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            pl_module.log("own", Mean())

    made = programs.trainer(folder, Logs(), max_epochs=1)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        made.fit(programs.Line(), programs.Batches(3, first))
    return {"own": float(made.callback_metrics["own"]), "warnings": [str(each.message) for each in told]}
