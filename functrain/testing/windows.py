"""What open windows have added up: losses and gradients without an update, of every optimizer."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from functrain.kernel.state import Player
from functrain.testing.tools import Tools
from functrain.testing.verdict import nothing
from functrain.trainer.functional import Step

NEVER = 2**20
"""Micro-batches a window: it never closes."""

SCALE = 2.0**8
"""The loss scale at lower precisions."""

PLACES = 64
"""So many batches are looked at for an optimizer's turn."""


class Window(NamedTuple):
    """What one optimizer's window holds: the mean loss, the weights' sum, and the mean gradients by path."""

    loss: float
    weight: float
    grads: dict[str, np.ndarray | None]


class Opened(NamedTuple):
    """What so many batches left: the state, whose windows are open, and what is in the window of each optimizer; None
    where it never was its turn."""

    state: Any
    windows: list[Window | None]


def uncut(law: str, module: Any, flags: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the module and the flags for windows of many batches. Where batches are cut along time every piece is an
    update: then the whole sequence is looked at.

    Raises:
        NothingToCheck: the module optimizes by hand.
    """
    check_automatic(law, module, flags)
    kept = {name: value for name, value in flags.items() if name != "truncated_bptt_steps"}
    if module.truncated_bptt_steps:
        module = copy.copy(module)
        module.truncated_bptt_steps = None
    return module, {**kept, "accumulate_grad_batches": NEVER}


def check_automatic(law: str, module: Any, flags: Mapping[str, Any]) -> None:
    """Raises NothingToCheck where the module optimizes by hand."""
    if not module.automatic_optimization or flags.get("automatic_optimization") is False:
        nothing(law, f"{type(module).__name__} optimizes by hand, so its step returns no loss that could be looked at")


def opened(tools: Tools, step: Step, start: Any, batches: Sequence[Any]) -> Opened:
    """Let every optimizer's window take in these batches, from the same state; the flags are those of `uncut`."""
    found: list[Window | None] = [None] * len(start.players)
    start = start._replace(players=tuple(map(_scaled_less, start.players)))
    first: Any = None
    for place in range(PLACES):
        state = start
        for batch in batches:
            # The very position again, so that an optimizer whose turn it is has it for all of them.
            clock = state.clock
            state, _ = step.step(state._replace(clock=clock._replace(batch=clock.batch * 0 + place)), batch)
        first = state if first is None else first
        for i, (player, sums) in enumerate(zip(state.players, tools.gradients(state), strict=True)):
            has_closed = found[i] is None and int(player.acc.count) and float(player.acc.weight)
            if has_closed:
                found[i] = _window(player, sums)
        if None not in found:
            break
    return Opened(first, found)


def _scaled_less(player: Player) -> Player:
    """A loss scale begins so high that the first windows overflow, which says nothing of the gradients."""
    scale = player.scale
    return player if scale is None else player._replace(scale=scale._replace(value=scale.value * 0 + SCALE))


def _window(player: Any, sums: Mapping[str, np.ndarray | None]) -> Window:
    weight = float(player.acc.weight)
    scale = 1.0 if player.scale is None else float(player.scale.value)
    means = {path: None if grad is None else grad / (weight * scale) for path, grad in sums.items()}
    return Window(float(player.acc.loss) / weight, weight, means)


def named(window: int, count: int) -> str:
    """Return words for one of so many optimizers; none where it is the only one."""
    return f"optimizer {window}: " if count > 1 else ""
