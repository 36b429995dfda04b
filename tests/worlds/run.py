"""A program's whole run through one API: made, fitted, used, and all of it recorded. Knows no framework."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.worlds.body import Convert, loader_of
from tests.worlds.observe import Record, hook_methods, recording_logger
from tests.worlds.program import Program

QUIET = {"enable_progress_bar": False, "enable_model_summary": False}


@dataclass(frozen=True)
class Api:
    """What a run needs of a framework.

    Attributes:
        make: the module of a program, by its record and its folder.
        weights: a module's present weights by name.
        convert: numpy arrays of a batch as the framework's.
    """

    trainer: Callable[..., Any]
    callback: type
    early_stopping: type
    model_checkpoint: type
    logger: type
    make: Callable[[Program, Record, str], Any]
    weights: Callable[[Any], dict[str, Any]]
    convert: Convert
    seed: Callable[[int], Any]


def run(api: Api, program: Program, folder: Path, resume: str | None = None, idle: tuple[str, ...] = ()) -> Record:
    """Run it; what goes wrong is part of the record. `idle`: hooks of one more callback, which does nothing."""
    record = Record(program)
    with record.watched():
        api.seed(program.seed)
        module = api.make(program, record, str(folder))
        trainer = api.trainer(**_flags(api, program, record, folder, idle))
        try:
            trainer.fit(module, **_loaders(api, program), ckpt_path=resume)
        finally:
            _after(api, trainer, module, record, folder)
        _then(api, program, trainer, module, record)
    return record


def _flags(api: Api, program: Program, record: Record, folder: Path, idle: tuple[str, ...]) -> dict[str, Any]:
    methods = hook_methods("callback", program.callback_hooks, record, api.weights, str(folder))
    callbacks: list[Any] = [type("Watching", (api.callback,), methods)()] if methods else []
    if idle:
        callbacks.append(type("Idle", (api.callback,), {name: lambda self, *args: None for name in idle})())
    if program.early_stop is not None:
        callbacks.append(api.early_stopping(**vars(program.early_stop)))
    if program.checkpoint is not None:
        callbacks.append(api.model_checkpoint(dirpath=str(folder / "kept"), **vars(program.checkpoint)))
    return {
        "logger": recording_logger(api.logger, record),
        "callbacks": callbacks,
        "enable_checkpointing": program.checkpoint is not None,
        "default_root_dir": str(folder),
        **QUIET,
        **program.flags,
    }


def _loaders(api: Api, program: Program) -> dict[str, Any]:
    if program.given == "module":
        return {}
    val = [loader_of(program, each, 1 + i, 0, api.convert) for i, each in enumerate(program.val)]
    return {
        "train_dataloaders": loader_of(program, program.train, 0, 0, api.convert),
        **({"val_dataloaders": val} if val else {}),
    }


def _after(api: Api, trainer: Any, module: Any, record: Record, folder: Path) -> None:
    """What is left when a fit has ended, one way or the other."""
    position = {"epoch": trainer.current_epoch, "step": trainer.global_step}
    record.see("end", {**position, "metrics": trainer.callback_metrics, "weights": api.weights(module)})
    record.see(f"interrupted {trainer.interrupted}")
    saver = trainer.checkpoint_callback
    if saver is not None:
        kept = sorted(os.listdir(folder / "kept")) if (folder / "kept").is_dir() else []
        paths = [os.path.basename(saver.best_model_path), os.path.basename(saver.last_model_path)]
        record.see(f"files {kept} best and last {paths}", {"score": saver.best_model_score})


def _then(api: Api, program: Program, trainer: Any, module: Any, record: Record) -> None:
    for number, stage in enumerate(program.then):
        loaders = [loader_of(program, each, 10 + i, number, api.convert) for i, each in enumerate(program.val)]
        if stage == "predict":
            record.see("predict", {"outputs": trainer.predict(module, loaders)})
        else:
            record.see(stage, {"results": getattr(trainer, stage)(module, loaders, verbose=False)})
