"""What a checkpoint of ours has besides, so that pytorch_lightning reads it: its version, its loops, the states of
callbacks under its keys."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from functrain.kernel.state import LossScale
from functrain.trainer.callback import Callback, Checkpoint, EarlyStop
from functrain.trainer.hooks import keyed
from functrain.trainer.loop_state import ends_epoch
from functrain.trainer.narrow import class_of
from functrain_torch import lightning_names as names
from functrain_torch.snapshot import Holder

BEFORE_VALIDATION = (("batch", "on_batch_end"), ("batch", "log"), ("batch", "validate"))
"""Places of the loop where a validation may still come after a batch."""


def named(engine: Holder, checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stands in a checkpoint for pytorch_lightning alone: entries of it, and of its 'callbacks'."""
    version: dict[str, Any] = {names.VERSION: names.WRITTEN_AS}
    if "hparams_name" in checkpoint:
        version["hparams_type"] = "AttributeDict"  # an object with attributes, as it was given
    if "loop" not in checkpoint:
        return version
    loop, clock = checkpoint["loop"], engine.run.clock
    # What follows an epoch's last batch is the end of the epoch there.
    over = ends_epoch(loop) or (loop["in_epoch"] and loop["over"])
    pending = loop["in_epoch"] and tuple(loop["position"]) in BEFORE_VALIDATION
    seen = loop.get("seen", 0)
    if over:
        place = names.Place(clock.epoch + 1, 0, clock.update, seen + clock.batch)
    else:
        place = names.Place(clock.epoch, clock.batch, clock.update, seen, validates=pending and clock.batch > 0)
    players = checkpoint["players"]
    steps = sum(player["updates"] for player in players) if len(players) != 1 or not engine.automatic else clock.update
    scale = _scale(engine)
    datamodule = engine.run.datamodule
    state = checkpoint.get("datamodule")
    loader = None if over else (loop["source"]["cursor"] or {}).get("loader")
    return {
        **version,
        "loops": names.loops(place, steps, engine.automatic, loader),
        "callbacks": dict(_callbacks(checkpoint, engine.run.callbacks)),
        **({} if scale is None else {names.SCALES[0]: scale}),
        **({class_of(datamodule).__qualname__: state} if state else {}),
    }


def _scale(engine: Holder) -> dict[str, Any] | None:
    """Return the loss scale as torch's GradScaler keeps it."""
    rules = engine.parts.rules
    rule = rules[0].scale if rules else None
    scale: LossScale | None = None if engine.state is None else engine.state.players[0].scale
    if rule is None or scale is None:
        return None
    return {
        "scale": float(scale.value),
        "growth_factor": rule.growth,
        "backoff_factor": rule.backoff,
        "growth_interval": rule.interval,
        "_growth_tracker": int(scale.good),
    }


def _callbacks(checkpoint: Mapping[str, Any], callbacks: Iterable[Callback]) -> Iterator[tuple[str, Any]]:
    for key, callback in keyed(callbacks):
        state = checkpoint.get("callbacks", {}).get(key)
        if not state:
            continue
        if isinstance(callback, EarlyStop) and "best_score" in state:
            yield _key("EarlyStopping", callback, ("monitor", "mode")), _early_stopping(callback, state)
        elif isinstance(callback, Checkpoint) and "best_k_models" in state:
            told = ("monitor", "mode", "every_n_train_steps", "every_n_epochs", "train_time_interval")
            yield _key("ModelCheckpoint", callback, told), _model_checkpoint(callback, state)


def _key(name: str, callback: Callback, told: tuple[str, ...]) -> str:
    """Return the key under which pytorch_lightning looks for a callback's state: what it was made with."""
    values = {each: getattr(callback, each, None) for each in told}
    if "every_n_epochs" in values:
        values |= {each: values[each] or 0 for each in ("every_n_train_steps", "every_n_epochs")}
    return f"{name}{values!r}"


def _early_stopping(callback: Callback, state: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "wait_count": state["wait_count"],
        "stopped_epoch": state["stopped_epoch"],
        "best_score": torch.tensor(float(state["best_score"])),
        "patience": getattr(callback, "patience", 0),
    }


def _model_checkpoint(callback: Callback, state: Mapping[str, Any]) -> dict[str, Any]:
    monitor = getattr(callback, "monitor", None)
    kept = {path: torch.tensor(float(score)) for path, score in state["best_k_models"].items()} if monitor else {}
    worst = max if getattr(callback, "mode", "min") == "min" else min
    last = worst(kept, key=lambda path: kept[path].item()) if kept else ""
    bound = math.inf if worst is max else -math.inf
    is_full = len(kept) == getattr(callback, "save_top_k", 1)
    return {
        "monitor": monitor,
        "best_model_score": _tensor(state["best_model_score"] if monitor else None),
        "best_model_path": state["best_model_path"],
        "current_score": _tensor(state["current_score"] if monitor else None),
        "dirpath": state["dirpath"],
        "best_k_models": kept,
        "kth_best_model_path": last if is_full else "",
        "kth_value": kept[last] if is_full and kept else torch.tensor(bound),
        "last_model_path": state["last_model_path"],
    }


def _tensor(value: float | None) -> torch.Tensor | None:
    return None if value is None else torch.tensor(float(value))
