"""What `configure_optimizers` returned, parsed: optimizers, their turns, and when their schedulers step."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from functrain.kernel.plan import PlayerPlan
from functrain.trainer.configured import check_keys, in_turn
from functrain.trainer.errors import ConfigurationError, kind

KEYS = ("optimizer", "lr_scheduler", "frequency", "monitor")
SCHEDULER_KEYS = ("scheduler", "interval", "frequency", "monitor", "strict", "name", "reduce_on_plateau", "opt_idx")


@dataclass(frozen=True, slots=True)
class Scheduler:
    """A learning-rate scheduler and when it steps.

    Attributes:
        interval: 'epoch' or 'step', the unit of `frequency`; a step is an update of its optimizer.
        monitor: the metric that a plateau scheduler is given.
        strict: a missing monitor is an error; else the scheduler does not step.
        player: which optimizer it belongs to.
    """

    scheduler: Any
    interval: str = "epoch"
    frequency: int = 1
    monitor: str | None = None
    strict: bool = True
    name: str | None = None
    reduce_on_plateau: bool = False
    player: int = 0


@dataclass(frozen=True, slots=True)
class Configured:
    """The optimizers of a module, the schedulers, and when each optimizer plays."""

    optimizers: list[Optimizer]
    schedulers: list[Scheduler]
    turns: list[PlayerPlan]

    def players(self) -> tuple[PlayerPlan, ...]:
        """The kernel's plan of who plays when."""
        return tuple(self.turns) or (PlayerPlan(),)


def parse_optimizers(given: Any, module: str) -> Configured:
    """Parse every documented form: one optimizer; several; two lists; a dict, or several; None.

    Raises:
        ConfigurationError: it is none of the forms; names what is wrong.
    """
    if given is None:
        return Configured([], [], [])
    is_two_lists = (
        isinstance(given, Sequence) and len(given) == 2 and all(isinstance(part, list | tuple) for part in given)
    )
    if is_two_lists:
        optimizers, schedulers = given
        entries: list[Any] = [{"optimizer": optimizer} for optimizer in optimizers]
        extra = [_scheduler(s, _owner(s, optimizers, i), module) for i, s in enumerate(schedulers)]
    else:
        entries, extra = list(given) if isinstance(given, list | tuple) else [given], []
    optimizers, schedulers, frequencies = [], list(extra), []
    for index, entry in enumerate(entries):
        entry = entry if isinstance(entry, Mapping) else {"optimizer": entry}
        optimizers.append(_optimizer(entry, module))
        frequencies.append(entry.get("frequency"))
        if entry.get("lr_scheduler") is not None:
            schedulers.append(_scheduler(entry["lr_scheduler"], index, module, entry.get("monitor")))
    turns = in_turn(frequencies, f"{module}.configure_optimizers")
    for scheduler in schedulers:
        if not 0 <= scheduler.player < len(optimizers):
            raise ConfigurationError(
                f"{module}.configure_optimizers: opt_idx {scheduler.player} of a scheduler: there are "
                f"{len(optimizers)} optimizers, counted from 0."
            )
    return Configured(optimizers, schedulers, turns)


def _optimizer(entry: Mapping[str, Any], module: str) -> Any:
    check_keys(entry, KEYS, f"{module}.configure_optimizers")
    if "optimizer" not in entry:
        raise ConfigurationError(f"{module}.configure_optimizers: a dict without 'optimizer'; give it one.")
    optimizer = entry["optimizer"]
    if not isinstance(optimizer, Optimizer):
        raise ConfigurationError(
            f"{module}.configure_optimizers: {type(optimizer).__name__} is not a torch.optim.Optimizer. Return an "
            "optimizer, several, two lists (optimizers, schedulers), or dicts with 'optimizer' and 'lr_scheduler'."
        )
    return optimizer


def _owner(scheduler: Any, optimizers: Sequence[Any], index: int) -> int:
    """Return the optimizer that a scheduler of a list belongs to: the one it was made of, else the one at its place."""
    inner = scheduler.get("scheduler") if isinstance(scheduler, Mapping) else scheduler
    attached = getattr(inner, "optimizer", None)
    for i, optimizer in enumerate(optimizers):
        if optimizer is attached:
            return i
    return min(index, len(optimizers) - 1)


def _scheduler(given: Any, player: int, module: str, monitor: str | None = None) -> Scheduler:
    entry = dict(given) if isinstance(given, Mapping) else {"scheduler": given}
    check_keys(entry, SCHEDULER_KEYS, f"{module}.configure_optimizers", " of lr_scheduler")
    scheduler = entry.get("scheduler")
    if not hasattr(scheduler, "step"):
        raise ConfigurationError(
            f"{module}.configure_optimizers: lr_scheduler holds {kind(scheduler)}, which has no step()."
        )
    interval = entry.get("interval", "epoch")
    if interval not in ("epoch", "step"):
        raise ConfigurationError(f"{module}.configure_optimizers: interval {interval!r} must be 'epoch' or 'step'.")
    plateau = bool(entry.get("reduce_on_plateau", isinstance(scheduler, ReduceLROnPlateau)))
    monitor = entry.get("monitor", monitor)
    if plateau and monitor is None:
        monitor = "val_loss"
    frequency = entry.get("frequency", 1)
    if not isinstance(frequency, int) or frequency < 1:
        raise ConfigurationError(
            f"{module}.configure_optimizers: lr_scheduler frequency {frequency!r} must be an int >= 1."
        )
    return Scheduler(
        scheduler, interval, frequency, monitor, bool(entry.get("strict", True)), entry.get("name"), plateau,
        int(entry.get("opt_idx", player) or 0),
    )  # fmt: skip


def needs_closure(optimizer: Any) -> bool:
    """Return whether the optimizer evaluates the loss by itself, again and again (LBFGS)."""
    try:
        closure = inspect.signature(optimizer.step).parameters.get("closure")
    except (TypeError, ValueError):
        return False
    return isinstance(optimizer, torch.optim.LBFGS) or (closure is not None and closure.default is closure.empty)


def parameters_of(optimizer: Any) -> list[torch.nn.Parameter]:
    """Return all parameters of an optimizer, in order."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def learning_rates(configured: Configured) -> dict[str, float]:
    """Return the learning rate of every optimizer and parameter group, by name: 'lr-Adam', 'lr-SGD-1',
    'lr-Adam/pg2'."""
    return {name: float(group["lr"]) for name, group in _groups(configured)}


def momenta(configured: Configured) -> dict[str, float]:
    """Return the momentum of every optimizer and parameter group, or Adam's first beta; 0 where there is none."""
    return {
        f"{name}-momentum": float(group.get("momentum", (group.get("betas") or (0.0,))[0]))
        for name, group in _groups(configured)
    }


def _groups(configured: Configured) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every parameter group and the name that it is logged under."""
    seen: dict[str, int] = {}
    for index, optimizer in enumerate(configured.optimizers):
        named = next((s.name for s in configured.schedulers if s.player == index and s.name), None)
        name = named or f"lr-{type(optimizer).__name__}"
        again = seen.get(name, 0)
        seen[name] = again + 1
        name = f"{name}-{again}" if again else name
        groups = optimizer.param_groups
        for i, group in enumerate(groups):
            yield (f"{name}/pg{i + 1}" if len(groups) > 1 else name), group
