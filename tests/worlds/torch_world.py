"""Programs in torch: functrain_torch, and whatever else has the same API."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import functrain_torch
from functrain.loggers import Logger
from tests.worlds.body import module_members
from tests.worlds.observe import Record, hook_methods
from tests.worlds.program import Optimizer, Program, weights_of
from tests.worlds.run import Api, run


def run_torch(program: Program, folder: Path, resume: str | None = None) -> Record:
    """The program in functrain_torch."""
    return run(API, program, folder, resume)


class Part(torch.nn.Module):
    """A weight matrix and a bias."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.from_numpy(values["w"].copy()))
        self.b = torch.nn.Parameter(torch.from_numpy(values["b"].copy()))


def maker(base: type) -> Any:
    """Makes a program's module of a LightningModule of any kind."""

    def make(program: Program, record: Record, folder: str) -> Any:
        def init(self: Any) -> None:
            base.__init__(self)
            for name, values in weights_of(program).items():
                setattr(self, name, Part(values))

        members = {
            "__init__": init,
            "weights": lambda self: {n: {"w": p.w, "b": p.b} for n, p in self.named_children()},
            "configure_optimizers": lambda self: configured(program, self),
            **module_members(program, record, convert, torch.tanh),
            **hook_methods("module", program.module_hooks, record, weights, folder),
        }
        return type("Model", (base,), members)()

    return make


def configured(program: Program, module: Any) -> Any:
    """What configure_optimizers gives; of several optimizers each has a part of its own."""
    parts = list(module.children())
    if not program.several:
        return _entry(program.optimizers[0], module.parameters())
    return [_entry(each, part.parameters()) for each, part in zip(program.optimizers, parts, strict=True)]


def _entry(given: Optimizer, parameters: Any) -> Any:
    if given.kind == "adam":
        optimizer: Any = torch.optim.Adam(parameters, given.rate)
    else:
        optimizer = torch.optim.SGD(parameters, given.rate, momentum=0.5 if given.kind == "momentum" else 0.0)
    entry: dict[str, Any] = {"optimizer": optimizer}
    if given.frequency is not None:
        entry["frequency"] = given.frequency
    if given.decay is not None:
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, given.decay)
        entry["lr_scheduler"] = {"scheduler": scheduler, "interval": given.interval, "frequency": given.every}
    return entry if len(entry) > 1 else optimizer


def weights(module: Any) -> dict[str, Any]:
    """By the parameters' names."""
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def convert(batch: Any) -> Any:
    """numpy arrays as tensors."""
    if isinstance(batch, Mapping):
        return {key: convert(value) for key, value in batch.items()}
    if isinstance(batch, tuple):
        return tuple(convert(value) for value in batch)
    return torch.from_numpy(batch.copy()) if batch.ndim else float(batch)


API = Api(
    trainer=functrain_torch.Trainer,
    callback=functrain_torch.Callback,
    early_stopping=functrain_torch.callbacks.EarlyStopping,
    model_checkpoint=functrain_torch.callbacks.ModelCheckpoint,
    logger=Logger,
    make=maker(functrain_torch.LightningModule),
    weights=weights,
    convert=convert,
    seed=functrain_torch.seed_everything,
)
