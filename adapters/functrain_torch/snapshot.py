"""The torch engine's part of a checkpoint: taken as tensors and plain values, put back whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from functrain.kernel.state import Accumulator, Clock, LossScale, Player, TrainState
from functrain.trainer import metrics_state
from functrain.trainer.checkpoint import is_storable
from functrain.trainer.errors import CheckpointError
from functrain.trainer.run import Run
from functrain.trainer.weights import check_not_weights_only, check_weights
from functrain_torch import ckpt, metric_states
from functrain_torch.groups import add_saved
from functrain_torch.manual import Manual
from functrain_torch.modes import Modes
from functrain_torch.module import LightningModule
from functrain_torch.optimizer_shapes import check_shapes
from functrain_torch.optimizer_states import order, ordered, parameter_names
from functrain_torch.optimizers import Configured
from functrain_torch.parts import StepParts
from functrain_torch.strategy import Strategy


class Holder(Protocol):
    """What a snapshot is taken of, and put back into: the engine of a run. See `functrain_torch.engine.TorchEngine`."""

    run: Run
    module: LightningModule
    state: TrainState | None
    strategy: Strategy
    parts: StepParts
    manual: Manual
    modes: Modes
    automatic: bool
    groups: list[int]

    def follow_groups(self) -> None:
        """The optimizers may have been given parameter groups."""
        ...

    @property
    def configured(self) -> Configured:
        """The optimizers and schedulers of the module."""
        ...


@runtime_checkable
class Saves(Protocol):
    """What moves a state that was made without a Trainer, and knows what a checkpoint of it holds."""

    def checkpoint(self, state: TrainState) -> dict[str, Any]:
        """Return the checkpoint, of values of its own."""
        ...


def state_dict(engine: Holder, weights_only: bool) -> dict[str, Any]:
    """Return the engine's part of a checkpoint: weights; and unless weights_only optimizers, schedulers, loss scales,
    open windows, running metrics."""
    saved: dict[str, Any] = {"state_dict": engine.strategy.state_dict(engine.module)}
    if weights_only:
        return saved
    engine.follow_groups()
    if not engine.automatic:
        engine.manual.settle()
    state, configured = _state_of(engine), engine.configured
    saved["optimizer_states"] = [optimizer.state_dict() for optimizer in configured.optimizers]
    saved["lr_schedulers"] = [config.scheduler.state_dict() for config in configured.schedulers]
    saved["kinds"] = kinds(configured)
    saved["groups"] = list(engine.groups)
    saved["parameter_names"] = [parameter_names(engine.module, optimizer) for optimizer in configured.optimizers]
    saved["players"] = [_player(engine, i, player) for i, player in enumerate(state.players)]
    if not engine.automatic:
        grads = engine.manual.scaled()
        saved["grads"] = {name: grads[id(p)] for name, p in engine.module.named_parameters() if id(p) in grads}
    saved["modes"] = {path: training for path, training in engine.modes.training().items() if not training}
    saved["frozen"] = [name for name, p in engine.module.named_parameters() if not p.requires_grad]
    redone = engine.run.redone is not None
    saved["metric_states"] = engine.modes.metrics_before if redone else metric_states.states(engine.module)
    saved["metric_links"] = metrics_state.links(engine.run.metrics, metric_states.places(engine.module))
    return saved


def _state_of(engine: Holder) -> TrainState:
    assert engine.state is not None
    return engine.state


def kinds(configured: Configured) -> dict[str, list[str]]:
    """Return the classes of optimizers and schedulers, by name: their states would fit others and mean something
    else."""
    return {
        "optimizer": [type(optimizer).__name__ for optimizer in configured.optimizers],
        "scheduler": [type(config.scheduler).__name__ for config in configured.schedulers],
    }


def _player(engine: Holder, index: int, player: Player) -> dict[str, Any]:
    acc = player.acc
    window = None
    again = engine.parts.reevaluation
    if acc.count:
        window = {
            "grads": [p.grad for p in acc.grads],
            "loss": acc.loss,
            "weight": acc.weight,
            "count": acc.count,
            "batches": None if again is None else _storable(again.windows.get(index)),
        }
    return {"updates": player.updates, "scale": None if player.scale is None else list(player.scale), "window": window}


def _storable(batches: Any) -> Any:
    # An optimizer that evaluates again goes without the window's earlier batches where a file cannot hold them.
    return batches if is_storable(batches) else None


def load_state(engine: Holder, saved: Mapping[str, Any] | TrainState, weights_only: bool) -> None:
    """Take a snapshot, or a state, back.

    Raises:
        CheckpointError: it does not fit the module or its optimizers; nothing was changed then.
    """
    if isinstance(saved, TrainState):
        saved = _as_saved(engine, saved)
    module, name = engine.module, type(engine.module).__name__
    check_weights(saved, module.state_dict(), ckpt.forms, name)
    if not weights_only:
        add_saved(module, engine.configured.optimizers, saved)
        engine.follow_groups()
        _check_optimizers(engine, saved, name)
        places = _places(engine, saved)
        for i, (state, at) in enumerate(zip(saved["optimizer_states"], places, strict=True)):
            optimizer = engine.configured.optimizers[i]
            names = parameter_names(module, optimizer)
            check_shapes(ordered(state, at), optimizer, names, f"optimizer {i} ({type(optimizer).__name__})")
        _check_windows(engine, saved)
    engine.strategy.load_state_dict(module, saved["state_dict"], strict=True)
    if weights_only:
        return
    frozen = set(saved["frozen"])
    for path, parameter in module.named_parameters():
        parameter.requires_grad_(path not in frozen)
        if path in saved.get("grads", ()):
            parameter.grad = saved["grads"][path].to(parameter.device, parameter.dtype)
    for optimizer, state, at in zip(engine.configured.optimizers, saved["optimizer_states"], places, strict=True):
        optimizer.load_state_dict(ordered(state, at))
    for config, state in zip(engine.configured.schedulers, saved["lr_schedulers"], strict=True):
        config.scheduler.load_state_dict(state)
    _load_players(engine, saved, places)
    for player in _state_of(engine).players:
        if player.updates:
            # It has stepped, in the run before: torch's schedulers would warn that it has not.
            vars(player.opt)["_opt_called"] = True
    engine.modes.resumed = set(saved["modes"])
    metric_states.load_states(module, saved["metric_states"])
    metrics_state.load_links(engine.run.metrics, saved["metric_links"], metric_states.found(module))


def _check_optimizers(engine: Holder, saved: Mapping[str, Any], name: str) -> None:
    for key, own in (
        ("optimizer_states", engine.configured.optimizers),
        ("lr_schedulers", engine.configured.schedulers),
    ):
        check_not_weights_only(saved, key)
        if len(saved[key]) != len(own):
            raise CheckpointError(f"has {len(saved[key])} {key}, and {name} configures {len(own)}.")
    for what, own_kinds in kinds(engine.configured).items():
        for i, (was, is_now) in enumerate(zip(saved["kinds"][what], own_kinds, strict=True)):
            if was != is_now:
                raise CheckpointError(
                    f"its {what} {i} is of class {was}, and {name} configures {is_now}: continue with the same, or "
                    "load the weights alone with load_from_checkpoint."
                )
    for i, (optimizer, state) in enumerate(zip(engine.configured.optimizers, saved["optimizer_states"], strict=True)):
        sizes = [len(group["params"]) for group in optimizer.param_groups]
        given = [len(group["params"]) for group in state["param_groups"]]
        if sizes != given:
            raise CheckpointError(
                f"its optimizer {i} has parameter groups of {given} tensors, and {name}'s has {sizes}."
            )


def _places(engine: Holder, saved: Mapping[str, Any]) -> list[list[int]]:
    """Of every optimizer: where its parameters stood in the checkpoint; those of older versions have no names."""
    optimizers = engine.configured.optimizers
    own = [parameter_names(engine.module, optimizer) for optimizer in optimizers]
    then = saved.get("parameter_names", own)
    return [
        order(then[i], own[i], f"optimizer {i} ({type(optimizer).__name__})") for i, optimizer in enumerate(optimizers)
    ]


def _check_windows(engine: Holder, saved: Mapping[str, Any]) -> None:
    """The gradients of an open window are scaled as the precision was."""
    for kept, player in zip(saved["players"], _state_of(engine).players, strict=True):
        if kept["window"] is not None and (kept["scale"] is None) != (player.scale is None):
            raise CheckpointError(
                "was taken within an accumulation window under another precision; continue with the same precision."
            )


def _load_players(engine: Holder, saved: Mapping[str, Any], places: Sequence[Sequence[int]]) -> None:
    state = _state_of(engine)
    again = engine.parts.reevaluation
    for index, kept in enumerate(saved["players"]):
        me = state.players[index]
        scale = me.scale if kept["scale"] is None or me.scale is None else LossScale(*kept["scale"])
        if again is not None and kept["window"] is not None and kept["window"]["batches"] is not None:
            again.windows[index] = list(kept["window"]["batches"])
        acc = Accumulator(me.acc.grads)
        if kept["window"] is not None:
            window = kept["window"]
            for parameter, at in zip(me.acc.grads, places[index], strict=True):
                grad = window["grads"][at]
                parameter.grad = None if grad is None else grad.to(parameter.device, parameter.dtype)
            acc = Accumulator(
                me.acc.grads, _here(engine, window["loss"]), _here(engine, window["weight"]), window["count"]
            )
        state = state.with_player(index, me._replace(acc=acc, scale=scale, updates=kept["updates"]))
    if "clock" in saved:
        state = state._replace(clock=Clock(**saved["clock"]))
    engine.state = state


def _here(engine: Holder, value: Any) -> Any:
    return value.to(engine.strategy.device) if isinstance(value, Tensor) else value


def _as_saved(engine: Holder, state: TrainState) -> Mapping[str, Any]:
    """Return what a Trainer that stood at a state would save; the run goes on with its metrics and random state."""
    if not isinstance(state.metrics, Saves):
        raise CheckpointError("is no state of functional(module): make one by its init() or by load_state.")
    saved, run = state.metrics.checkpoint(state), engine.run
    metrics_state.load_state(run.metrics, saved["metrics"])
    run.resumed_rng = dict(saved["rng"])
    return saved
