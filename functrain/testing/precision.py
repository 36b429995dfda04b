"""Does a lower precision learn the same?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from functrain.testing.distance import draws, furthest, idle
from functrain.testing.tools import Tools, tools_of
from functrain.testing.updates import updated
from functrain.testing.verdict import NothingToCheck, broken, nothing
from functrain.testing.windows import opened, uncut
from functrain.trainer.functional import Step

LAW = "check_precision"
SKIPPED = 32
"""So many updates a loss scale may skip until it fits."""


def check_precision(
    module: Any,
    batch: Any,
    *,
    precision: Any = "bf16",
    updates: int = 5,
    rtol: float = 0.05,
    seed: int = 0,
    **flags: Any,
) -> None:
    """After so many updates of one batch the losses and the parameters are those of single precision, within a
    tolerance.

    Args:
        precision: 'bf16' or 16, as the Trainer takes it.
        updates: that both make. Those that a loss scale skips while it settles do not count.
        rtol: how far the losses and the parameters may be off, as a part of their size.
    """
    if str(precision).split("-")[0] not in ("16", "bf16"):
        raise ValueError(f"{LAW}(precision={precision!r}): must be 'bf16' or 16, which is held against 32.")
    tools = tools_of(module)
    steps = [tools.functional(module, {**flags, "precision": each}) for each in (32, precision)]
    first = tools.arrays(steps[0].init(seed=seed))
    full, losses = _trained(tools, steps[0], batch, updates, seed, 32)
    if not np.isfinite(losses).all():
        nothing(LAW, "the losses of single precision are not finite, so there is nothing to compare with")
    try:
        low, others = _trained(tools, steps[1], batch, updates, seed, precision)
    except Overflow as overflow:
        first = _overflowing(tools, module, batch, seed, {**flags, "precision": precision})
        broken(LAW, f"{overflow} at any loss scale{first}", CAUSE)
    if not any(full[path].tobytes() != array.tobytes() for path, array in first.items()):
        nothing(LAW, f"{updates} updates of single precision have changed nothing")
    for update, (a, b) in enumerate(zip(losses, others, strict=True), 1):
        for i, (one, other) in enumerate(zip(a, b, strict=True)):
            if not abs(one - other) <= rtol * max(abs(one), max(abs(value) for value in losses[0])):
                _check_draws(tools, module, batch, seed, flags)
                path, error = furthest(full, low)
                name = f" of optimizer {i}" if len(a) > 1 else ""
                where = (
                    f"the loss{name} of update {update} is {other:.6g} at precision={precision!r}, and {one:.6g} at 32"
                )
                broken(LAW, f"{where}; the furthest parameter is {path}, by {error:.2g} of its size", CAUSE)
    still = idle(LAW, tools, module, batch, seed, flags)
    path, error = furthest({path: array for path, array in full.items() if path not in still}, low)
    if not error <= rtol:
        _check_draws(tools, module, batch, seed, flags)
        where = f"after {updates} updates {path} {full[path].shape} is off by {error:.2g} of its size"
        broken(LAW, f"{where} at precision={precision!r}", CAUSE)


CAUSE = (
    "a loss, softmax, norm or sum in few bits (compute it in float32), an epsilon or a constant that few bits cannot "
    "hold, or ids and labels that are cast"
)


class Overflow(Exception):
    """No loss scale fits."""


def _overflowing(tools: Tools, module: Any, batch: Any, seed: int, flags: Mapping[str, Any]) -> str:
    """Return words for the parameters whose gradients are not finite at the start, where that can be told."""
    try:
        whole, kept = uncut(LAW, module, flags)
    except NothingToCheck:
        return ""
    step = tools.functional(whole, kept)
    windows = [window for window in opened(tools, step, step.init(seed=seed), [batch]).windows if window is not None]
    if any(not np.isfinite(window.loss) for window in windows):
        return ", nor is the loss"
    grads = [(path, grad) for window in windows for path, grad in window.grads.items()]
    wrong = [path for path, grad in grads if grad is not None and not np.isfinite(grad).all()]
    return f": not that of {', '.join(wrong[:3])}" if wrong else ""


def _trained(
    tools: Tools, step: Step, batch: Any, updates: int, seed: int, precision: Any
) -> tuple[dict[str, np.ndarray], list[list[float]]]:
    """Return all arrays after so many updates of which none was skipped, and the losses of each."""
    start = state = step.init(seed=seed)
    losses, skipped = list[list[float]](), 0
    while len(losses) < updates:
        state, reported = updated(LAW, step, state, batch)
        made = [update for update in reported if update is not None]
        if all(update.finite for update in made):
            losses.append([update.loss for update in made])
            continue
        skipped += 1
        if skipped > SKIPPED:
            raise Overflow(f"at precision={precision!r} no gradient of update {len(losses) + 1} is finite")
        # From the start again, at the scale that has become smaller.
        scales = [player.scale for player in state.players]
        players = tuple(p._replace(scale=scale) for p, scale in zip(start.players, scales, strict=True))
        state, losses = start._replace(players=players), []
    return tools.arrays(state), losses


def _check_draws(tools: Tools, module: Any, batch: Any, seed: int, flags: Mapping[str, Any]) -> None:
    if draws(LAW, tools, module, batch, seed, flags):
        nothing(LAW, "the step draws random numbers, other ones in another precision: check it without dropout")
