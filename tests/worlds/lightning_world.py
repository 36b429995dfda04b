"""Programs in pytorch-lightning, whose API functrain_torch has too: the same modules, of its own base class."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import Logger

from tests.worlds import torch_world
from tests.worlds.observe import Record
from tests.worlds.program import Program
from tests.worlds.run import Api, run

# It talks of its devices at every run.
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)


def run_lightning(program: Program, folder: Path, resume: str | None = None) -> Record:
    """The program in pytorch-lightning."""
    return run(API, program, folder, resume)


def _trainer(**flags: Any) -> Any:
    precision = {64: "64-true", 32: "32-true"}[flags.pop("precision", 32)]
    return pl.Trainer(accelerator="cpu", devices=1, barebones=False, precision=precision, **flags)  # type: ignore[arg-type]


API: Api = replace(
    torch_world.API,
    trainer=_trainer,
    callback=pl.Callback,
    early_stopping=EarlyStopping,
    model_checkpoint=ModelCheckpoint,
    logger=Logger,
    make=torch_world.maker(pl.LightningModule),
    seed=lambda seed: pl.seed_everything(seed, verbose=False),
)
