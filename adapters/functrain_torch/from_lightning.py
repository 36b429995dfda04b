"""A checkpoint of pytorch_lightning, made one of ours for the run that continues from it. What cannot be taken over is
said in one warning."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from functrain.kernel.state import Clock
from functrain.kernel.window import Schedule
from functrain.trainer.callback import Callback, Checkpoint, EarlyStop
from functrain.trainer.checkpoint import FORMAT
from functrain.trainer.errors import CheckpointError
from functrain.trainer.events import DONE
from functrain.trainer.hooks import keyed
from functrain.trainer.narrow import class_of, is_list, is_mapping
from functrain.version import __version__
from functrain_torch import lightning_names as names
from functrain_torch.optimizer_states import parameter_names
from functrain_torch.optimizers import Configured
from functrain_torch.snapshot import Holder, kinds

OF_SCHEDULERS = ("initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum", "swa_lr", "param_names", "params")
"""Entries of an optimizer's groups that are no options of its own."""

OLD_CALLBACKS = {
    "checkpoint_callback_best_model_score": ("ModelCheckpoint", "best_model_score"),
    "checkpoint_callback_best_model_path": ("ModelCheckpoint", "best_model_path"),
    "checkpoint_callback_best": ("ModelCheckpoint", "best_model_score"),
    "early_stop_callback_wait": ("EarlyStopping", "wait_count"),
    "early_stop_callback_patience": ("EarlyStopping", "patience"),
}
"""Where versions before 0.10 had what callbacks keep."""


def adopted(engine: Holder, saved: dict[str, Any]) -> dict[str, Any]:
    """Return the checkpoint as one of ours, of the present run: a fit whose optimizers are configured.

    Raises:
        CheckpointError: it holds weights only, or the state of other optimizers or schedulers.
    """
    if "optimizer_states" not in saved or "lr_schedulers" not in saved:
        raise CheckpointError(
            "holds weights only, so training cannot continue from it; load them with load_from_checkpoint."
        )
    run, configured = engine.run, engine.configured
    _check_options(saved, configured)
    windows = Schedule(run.flags.accumulate_grad_batches if engine.automatic else 1)
    place = names.place(saved, len(configured.optimizers), windows.at, engine.automatic)
    scale, lost = _scale(saved, engine), list[str]()
    lost += _lost(saved, place, engine, scale, windows.at(place.epoch))
    states, left = _callback_states(saved, run.callbacks)
    lost += [f"the states of callbacks ({', '.join(left)})"] if left else []
    if lost:
        warnings.warn(
            f"a checkpoint of pytorch_lightning {saved[names.VERSION]}: the run goes on at epoch {place.epoch}, batch "
            f"{place.batch}, after {place.update} updates. What it does not tell, or means otherwise: "
            f"{'; '.join(lost)}.",
            UserWarning,
            stacklevel=4,
        )
    clock = Clock(place.epoch, place.batch, place.update, 0)
    module = engine.module
    return {
        **saved,
        "functrain": {"format": FORMAT, "version": __version__, "weights_only": False},
        "clock": clock._asdict(),
        "loop": _loop(place, names.loader_state(saved)),
        "rng": {},
        "metrics": {"stages": {}, "calls": 0, "folded": 0},
        "kinds": kinds(configured),
        "parameter_names": [parameter_names(module, optimizer) for optimizer in configured.optimizers],
        "players": [
            {"updates": _steps_of(state, place), "scale": scale, "window": None} for state in saved["optimizer_states"]
        ],
        "modes": {path: False for path, part in module.named_modules() if module.training and not part.training},
        "frozen": [name for name, p in module.named_parameters() if not p.requires_grad],
        "metric_states": {},
        "metric_links": {},
        "callbacks": states,
        **_datamodule(saved, run.datamodule),
    }


def _loop(place: names.Place, loader: Any) -> dict[str, Any]:
    begun = place.batch > 0
    cursor: dict[str, Any] = {"seen": place.batch, "epoch_rng": None}
    if loader is not None:
        cursor["loader"] = loader
    position = ["batch", "validate" if place.validates else DONE] if begun else ["epoch", DONE]
    loop: dict[str, Any] = {
        "position": position,
        "called": [],
        "source": {"cursor": cursor if begun else None, "loader_rng": None},
        "in_epoch": begun,
        "ended": False,
        "over": not begun,
        "before": place.update,
        "before_batch": max(place.batch - 1, 0),
        "outputs": [],
        "should_stop": False,
        "draws": {},
        "val_loaders": [],
        "published": {},
        "logged": {},
    }
    return loop if place.seen is None else {**loop, "seen": place.seen}


def _datamodule(saved: Mapping[str, Any], datamodule: Any) -> dict[str, Any]:
    """Return the data module's part: it stands under its class's name."""
    name = class_of(datamodule).__qualname__
    return {"datamodule": saved[name]} if datamodule is not None and name in saved else {}


# optimizers and schedulers


def _check_options(saved: Mapping[str, Any], configured: Configured) -> None:
    """Their classes are not told; what they were made with tells most of it.

    Raises:
        CheckpointError: the states are of other optimizers or schedulers.
    """
    for i, (optimizer, state) in enumerate(zip(configured.optimizers, saved["optimizer_states"], strict=False)):
        which, own = f"optimizer {i}", {**optimizer.defaults, **optimizer.param_groups[0]}
        groups = state.get("param_groups") if is_mapping(state) else None
        if not is_list(groups) or not all(map(is_mapping, groups)):
            raise CheckpointError(f"the state of its {which} has no 'param_groups'; was it changed?")
        for group in groups:
            _check_keys([key for key in group if key not in (*own, *OF_SCHEDULERS)], which, optimizer)
            decoupled = "decoupled_weight_decay"
            if group.get(decoupled, own.get(decoupled)) != own.get(decoupled):
                _check_keys([f"{decoupled}={group[decoupled]}"], which, optimizer)
    for i, (config, state) in enumerate(zip(configured.schedulers, saved["lr_schedulers"], strict=False)):
        known = config.scheduler.state_dict()
        if not is_mapping(state):
            raise CheckpointError(f"the state of its scheduler {i} is no dict; was it changed?")
        extra = [key for key in state if key not in known and not str(key).startswith("_")]
        _check_keys(extra, f"scheduler {i}", config.scheduler)


def _check_keys(extra: list[Any], which: str, own: object) -> None:
    if extra:
        raise CheckpointError(
            f"the state of its {which} has {', '.join(map(str, extra[:5]))}, which {type(own).__name__} does not have: "
            "continue with the same, or load the weights alone with load_from_checkpoint."
        )


def _steps_of(state: Mapping[str, Any], place: names.Place) -> int:
    """Return how often an optimizer has stepped: by its own count, where it keeps one."""
    own = [entry.get("step") for entry in state.get("state", {}).values() if is_mapping(entry)]
    counts = [int(step) for step in own if isinstance(step, int | float | Tensor)]
    return max(counts, default=place.update)


def _scale(saved: Mapping[str, Any], engine: Holder) -> list[float] | None:
    """Return the loss scale, as ours are kept: its value, and how many updates were finite since it moved."""
    state = next((saved[key] for key in names.SCALES if is_mapping(saved.get(key)) and saved[key]), None)
    if state is None or "scale" not in state or not _scales(engine):
        return None
    return [float(state["scale"]), int(state.get("_growth_tracker", 0))]


def _scales(engine: Holder) -> bool:
    return engine.state is not None and any(player.scale is not None for player in engine.state.players)


# what is lost


def _lost(
    saved: Mapping[str, Any], place: names.Place, engine: Holder, scale: list[float] | None, window: int
) -> Iterator[str]:
    """Yield what the checkpoint does not tell, or what means another thing here."""
    run, configured = engine.run, engine.configured
    has_scale = any(saved.get(key) for key in names.SCALES)
    if "amp_scaling_state" in saved:
        yield "the loss scale of apex, which is not used here"
    if has_scale and not _scales(engine):
        yield f"its loss scale, which precision={run.flags.precision} does not use"
    if _scales(engine) and scale is None:
        yield "a loss scale: it begins anew"
    if not place.told:
        yield f"where in an epoch it stood: the run goes on at the start of epoch {place.epoch}"
    if place.batch:
        yield "random states, and what was logged in this epoch: its averages are those of its other batches"
    if place.batch % window:
        yield f"the gradients of an open window of {place.batch % window} of {window} batches"
    if place.ended and place.validates and not run.flags.fast_dev_run:
        yield f"the validation at the end of epoch {place.epoch - 1}, which was still to come, if there was one"
    plateaus = [type(c.scheduler).__name__ for c in configured.schedulers if c.reduce_on_plateau]
    ends = place.ended or (not place.batch and _before_end(saved))
    if plateaus and ends:
        yield f"the step of {', '.join(plateaus)} at the end of epoch {place.epoch - 1}, whose metric is not kept"
    yield from _changed(saved, configured)


def _before_end(saved: Mapping[str, Any]) -> bool:
    """Was it written in the hooks of an epoch's end, before schedulers look at metrics?"""
    progress = saved.get("loops", {}).get("fit_loop", {}).get("epoch_progress", {}).get("current", {})
    return progress.get("completed") != progress.get("processed")


def _changed(saved: Mapping[str, Any], configured: Configured) -> Iterator[str]:
    """Yield the options of optimizers that are otherwise now: the checkpoint's are used."""
    scheduled = {config.player for config in configured.schedulers}
    for i, (optimizer, state) in enumerate(zip(configured.optimizers, saved["optimizer_states"], strict=False)):
        for group, now in zip(state["param_groups"], optimizer.param_groups, strict=False):
            # What schedulers move tells nothing of what it was made with.
            moved = ("initial_lr",) if i in scheduled else ("lr", "momentum", "betas")
            for key in (*moved, "weight_decay", "eps"):
                if key in group and key in now and group[key] != now[key]:
                    yield f"{key} of optimizer {i} is {now[key]} now, and the checkpoint's {group[key]} is used"


# callbacks


def _callback_states(saved: Mapping[str, Any], callbacks: list[Callback]) -> tuple[dict[str, Any], list[str]]:
    """Return the states by our keys, and whose are left."""
    theirs = dict(saved.get("callbacks") or {})
    for key, (owner, entry) in OLD_CALLBACKS.items():
        if key in saved:
            theirs[owner] = {**theirs.get(owner, {}), entry: saved[key]}
    found: dict[str, Any] = {}
    for key, callback in keyed(callbacks):
        name = _match(callback, theirs)
        if name is None:
            continue
        state = _taken(callback, theirs[name])
        if state is not None:
            found[key] = state
            del theirs[name]
    return found, [name.partition("{")[0] for name, state in theirs.items() if state]


def _match(callback: Callback, theirs: Mapping[str, Any]) -> str | None:
    """Return the key of the state that is this callback's: of its class, and told apart by what it watches."""
    own = {base.__qualname__ for base in type(callback).__mro__}
    candidates = [key for key in theirs if key.partition("{")[0] in own]

    def differs(key: str) -> int:
        told = re.findall(r"'(\w+)': ([^,}]*)", key)
        return sum(repr(getattr(callback, name, None)) != value for name, value in told if name in ("monitor", "mode"))

    same = [key for key in candidates if not differs(key)]
    ranked = sorted(same, key=lambda key: (_other_times(callback, key), key))
    return ranked[0] if ranked else None


def _other_times(callback: Callback, key: str) -> int:
    told = re.findall(r"'(every_n_\w+)': (\d+)", key)
    return sum(str(getattr(callback, name, None) or 0) != value for name, value in told)


def _taken(callback: Callback, state: Any) -> Any:
    """Return the state as this callback takes it; None where it cannot."""
    if not is_mapping(state):
        return None
    own = callback.state_dict()
    if isinstance(callback, EarlyStop):
        taken = {key: state[key] for key in ("wait_count", "stopped_epoch") if key in state}
        if "best_score" in state:
            taken["best_score"] = float(state["best_score"])
        reason = state.get("stopping_reason_message")
        return {**own, **taken, "stopping_reason": None if reason is None else str(reason)}
    if isinstance(callback, Checkpoint):
        kept = {path: _number(score) for path, score in (state.get("best_k_models") or {}).items()}
        best = state.get("best_model_path") or ""
        last = state.get("last_model_path") or ""
        scores = {key: _number(state.get(key)) for key in ("best_model_score", "current_score")}
        where = {"best_model_path": best, "last_model_path": last, "dirpath": state.get("dirpath")}
        return {**own, **where, **scores, "best_k_models": kept}
    of_the_house = type(callback).__module__.startswith("functrain")
    return dict(state) if not of_the_house or state.keys() == own.keys() else None


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
