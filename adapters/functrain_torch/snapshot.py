"""The torch engine's part of a checkpoint: taken as tensors and plain values, put back whole or not at all."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from functrain.kernel.state import Accumulator, LossScale
from functrain.trainer.errors import CheckpointError
from functrain.trainer.logbook import TRAIN
from functrain_torch import ckpt


def take(engine: Any, weights_only: bool) -> dict[str, Any]:
    """Weights; and unless weights_only optimizers, schedulers, loss scales, open windows, running metrics."""
    saved: dict[str, Any] = {"state_dict": engine.module.state_dict()}
    if weights_only:
        return saved
    state, configured = engine.state, engine.configured
    saved["optimizer_states"] = [optimizer.state_dict() for optimizer in configured.optimizers]
    saved["lr_schedulers"] = [config.scheduler.state_dict() for config in configured.schedulers]
    saved["players"] = [_player(player) for player in state.players] if state is not None else []
    saved["metrics"] = engine.trainer.book.state()
    saved["metric_objects"] = _metric_objects(engine)
    return saved


def _player(player: Any) -> dict[str, Any]:
    acc = player.acc
    window = None
    if acc.count:
        window = {
            "grads": [p.grad for p in acc.grads],
            "loss": acc.loss,
            "weight": acc.weight,
            "count": acc.count,
        }
    return {"updates": player.updates, "scale": None if player.scale is None else list(player.scale), "window": window}


def _metric_objects(engine: Any) -> dict[str, Any]:
    """The states of metric objects that accumulate by themselves, by the name they are logged under."""
    states: dict[str, Any] = {}
    for name, entry in engine.trainer.book.entries.get(TRAIN, {}).items():
        if entry.metric is not None:
            states[name] = {key: getattr(entry.metric, key) for key in getattr(entry.metric, "_defaults", {})}
    return states


def put_back(engine: Any, saved: dict[str, Any], weights_only: bool, strict: bool) -> None:
    """Take a snapshot back.

    Raises:
        CheckpointError: it does not fit the module or its optimizers; nothing was changed then.
    """
    module, name = engine.module, type(engine.module).__name__
    if "state_dict" not in saved:
        raise CheckpointError(f"has no weights (no 'state_dict'), so it is no checkpoint of {name}.")
    differs = ckpt.compare(saved["state_dict"], module.state_dict()) if strict else None
    if differs:
        raise CheckpointError(f"is of another module than {name}: {differs}.")
    if not weights_only:
        _check_optimizers(engine, saved, name)
    module.load_state_dict(saved["state_dict"], strict=strict)
    if weights_only:
        return
    for optimizer, state in zip(engine.configured.optimizers, saved["optimizer_states"], strict=True):
        optimizer.load_state_dict(state)
    for config, state in zip(engine.configured.schedulers, saved["lr_schedulers"], strict=True):
        config.scheduler.load_state_dict(state)
    _put_back_players(engine, saved)
    engine.trainer.book.load_state(saved.get("metrics", {}))
    engine.metric_states = saved.get("metric_objects", {})


def _check_optimizers(engine: Any, saved: dict[str, Any], name: str) -> None:
    for key, own in (
        ("optimizer_states", engine.configured.optimizers),
        ("lr_schedulers", engine.configured.schedulers),
    ):
        if key not in saved:
            raise CheckpointError(f"holds weights only (no {key!r}), so training cannot continue from it.")
        if len(saved[key]) != len(own):
            raise CheckpointError(f"has {len(saved[key])} {key}, and {name} configures {len(own)}.")
    for i, (optimizer, state) in enumerate(zip(engine.configured.optimizers, saved["optimizer_states"], strict=True)):
        sizes = [len(group["params"]) for group in optimizer.param_groups]
        given = [len(group["params"]) for group in state["param_groups"]]
        if sizes != given:
            raise CheckpointError(
                f"its optimizer {i} has parameter groups of {given} tensors, and {name}'s has {sizes}."
            )


def _put_back_players(engine: Any, saved: dict[str, Any]) -> None:
    from functrain.kernel.state import Clock

    for index, kept in enumerate(saved["players"]):
        me = engine.state.players[index]
        scale = me.scale if kept["scale"] is None or me.scale is None else LossScale(*kept["scale"])
        acc = Accumulator(me.acc.grads)
        if kept["window"] is not None:
            window = kept["window"]
            for parameter, grad in zip(me.acc.grads, window["grads"], strict=True):
                parameter.grad = None if grad is None else grad.to(parameter.device, parameter.dtype)
            acc = Accumulator(
                me.acc.grads, _here(engine, window["loss"]), _here(engine, window["weight"]), window["count"]
            )
        engine.state = engine.state.with_player(index, me._replace(acc=acc, scale=scale, updates=kept["updates"]))
    if "clock" in saved:
        engine.state = engine.state._replace(clock=Clock(**saved["clock"]))


def _here(engine: Any, value: Any) -> Any:
    return value.to(engine.device) if isinstance(value, Tensor) else value


def put_back_metric(metric: Any, states: dict[str, Any]) -> None:
    """Give a metric object its accumulated state back."""
    for key, value in states.items():
        own = getattr(metric, key)
        if isinstance(own, Tensor):
            own = torch.as_tensor(value).to(own.device)
            setattr(metric, key, own)
        else:
            setattr(metric, key, list(value))
    if states and hasattr(metric, "_update_count"):
        metric._update_count = max(1, metric._update_count)
