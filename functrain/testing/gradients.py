"""Does every parameter learn, by the gradient of the loss, and nothing else?"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from functrain.testing.tools import Tools, double_step, tools_of
from functrain.testing.updates import in_turn
from functrain.testing.values import first_difference
from functrain.testing.verdict import broken, nothing
from functrain.testing.windows import Window, named, opened, uncut
from functrain.trainer.functional import Step

LAW = "check_gradients"
UPDATES = 3
"""So many updates may wake a gradient that is zero at the start."""
STEPS = (1e-5, 1e-4, 1e-3, 1e-2)
"""How far a finite difference goes: further where the first met a kink, or what is computed in few bits."""


def check_gradients(
    module: Any,
    batch: Any,
    *,
    frozen: Sequence[str] = (),
    finite_differences: bool = False,
    rtol: float = 1e-3,
    seed: int = 0,
    **flags: Any,
) -> None:
    """Every trainable parameter is moved by an optimizer, and gets a gradient that is finite and not zero everywhere,
    at the start or some updates later; one of torch that does not require it gets none. With several optimizers each
    is looked at in its turn.

    Args:
        frozen: parts that an update is to leave as they are, by path as `encoder`: parameters, and statistics too.
        finite_differences: hold the gradient of every parameter against the loss a little further along a random
            direction, in double precision where its layers take that. Two forward passes a parameter.
        rtol: how far such a difference may be off.
    """
    tools = tools_of(module)
    left = tools.frozen(module)
    whole, kept = uncut(LAW, module, flags)
    step = tools.functional(whole, kept)
    start = step.init(seed=seed)
    _check_names(tools, start, frozen)
    _check_moved(tools, start, frozen)
    windows = opened(tools, step, start, [batch]).windows
    looked = {i: _looked_at(window, left, frozen) for i, window in enumerate(windows) if window is not None}
    _check_not_zero(tools, step, module, batch, seed, flags, looked)
    if frozen:
        _check_stays(tools, module, batch, seed, flags, frozen)
    if not any(looked.values()):
        nothing(LAW, "no optimizer moves any parameter that is not frozen, or the step returned no loss for this batch")
    missing = [i for i, window in enumerate(windows) if window is None]
    if missing:
        nothing(LAW, f"optimizer {missing[0]} learns nothing from this batch, whose turn ever it is; give another one")
    if finite_differences:
        with tools.precise() as exact:
            step = double_step(tools, whole, batch, {**kept, **exact})
            if step is not None:
                _check_differences(tools, step, batch, seed, left, rtol)
        if step is None:
            _check_differences(tools, tools.functional(whole, {**kept, "precision": 32}), batch, seed, left, rtol)


def _looked_at(window: Window, left: Collection[str], frozen: Sequence[str]) -> dict[str, np.ndarray]:
    """Look at the gradients of an optimizer; returns those that must not be zero."""
    found: dict[str, np.ndarray] = {}
    for path, grad in window.grads.items():
        if path in left:
            if grad is not None:
                cause = "requires_grad set again in a hook or in the step (unfreeze, requires_grad_)"
                broken(LAW, f"{path} is frozen and has a gradient", cause)
            continue
        if _is_below(path, frozen):
            continue
        if grad is None:
            broken(LAW, f"{path} has no gradient", "the loss does not use it, or a detach cuts it off")
        elif not np.isfinite(grad).all():
            wrong = int((~np.isfinite(grad)).sum())
            where = f"the gradient of {path} is not finite in {wrong} of its {grad.size} numbers"
            broken(LAW, where, "a root, logarithm or division at 0, or an overflow")
        found[path] = grad
    return found


def _check_not_zero(
    tools: Tools, step: Step, module: Any, batch: Any, seed: int, flags: Mapping[str, Any],
    looked: Mapping[int, Mapping[str, np.ndarray]],
) -> None:  # fmt: skip
    """A gradient that is zero everywhere is looked at again after some updates: a layer that begins at zero, as one of
    LoRA's two, cuts off what is behind it in the first of them alone."""
    zeros = [(i, path) for i, grads in looked.items() for path, grad in grads.items() if not grad.any()]
    if not zeros:
        return
    train = tools.functional(module, {**flags, "precision": 32})
    state = train.init(seed=seed)
    for _ in range(UPDATES):
        state = in_turn(lambda state, last: train.step(state, batch, last=last), state)
    moved = tools.with_values(step.init(seed=seed), tools.arrays(state))
    windows = opened(tools, step, moved, [batch]).windows
    for i, path in zeros:
        window = windows[i]
        grad = None if window is None else window.grads[path]
        if grad is None or not grad.any():
            where = f"the gradient of {path} {looked[i][path].shape} is zero everywhere, after {UPDATES} updates too"
            cause = (
                "the loss does not use it, a dead activation, a cut-off path (stop_gradient, detach), or weights "
                "behind it that stay at 0"
            )
            broken(LAW, where, cause)


def _check_moved(tools: Tools, state: Any, frozen: Sequence[str]) -> None:
    for path in tools.unmoved(state):
        if not _is_below(path, frozen):
            cause = (
                "a part that configure_optimizers leaves out: give it to an optimizer, freeze it "
                f"(requires_grad_(False)), or say frozen=[{(path.rpartition('.')[0] or path)!r}] here"
            )
            broken(LAW, f"{path} requires a gradient, and no optimizer moves it", cause)


def _is_below(path: str, parts: Sequence[str]) -> bool:
    return any(f"{path}.".startswith(f"{part}.") for part in parts)


def _check_names(tools: Tools, state: Any, frozen: Sequence[str]) -> None:
    paths = tools.arrays(state)
    for part in frozen:
        if not any(_is_below(path, [part]) for path in paths):
            raise ValueError(f"{LAW}(frozen={list(frozen)}): there is no {part!r}; there are {', '.join(paths)}.")


def _check_stays(
    tools: Tools, module: Any, batch: Any, seed: int, flags: Mapping[str, Any], frozen: Sequence[str]
) -> None:
    """What is said to be frozen is the same after an update."""
    step = tools.functional(module, flags)
    start = step.init(seed=seed)
    after = in_turn(lambda state, last: step.step(state, batch, last=last), start)
    before = {path: a for path, a in tools.arrays(start).items() if _is_below(path, frozen)}
    now = tools.arrays(after)
    difference = first_difference(before, {path: now[path] for path in before})
    if difference is not None:
        cause = (
            "an optimizer that was given all parameters, weight decay outside of its mask, or a normalisation that "
            "goes on to collect statistics (put the part into evaluation mode)"
        )
        broken(LAW, f"an update moves what is frozen: first {difference}", cause)


def _check_differences(tools: Tools, step: Step, batch: Any, seed: int, left: Collection[str], rtol: float) -> None:
    """The gradient of each parameter, along a random direction, is the difference of the losses there."""
    start = step.init(seed=seed)
    windows = opened(tools, step, start, [batch]).windows
    values, random = tools.arrays(start), np.random.default_rng(seed)
    for i, window in enumerate(windows):
        assert window is not None
        grads = {path: grad for path, grad in window.grads.items() if grad is not None and path not in left}
        directions = {path: _direction(random, grad) for path, grad in grads.items()}
        slopes = {path: float((grad * directions[path]).sum()) for path, grad in grads.items()}
        floor = 1e-6 * max(map(abs, slopes.values()), default=0.0)

        def loss(path: str, by: np.ndarray, i: int = i) -> float:
            moved = tools.with_values(start, {path: values[path] + by})
            there = opened(tools, step, moved, [batch]).windows[i]
            return float("nan") if there is None else there.loss

        def change(path: str, far: float, directions: Mapping[str, np.ndarray] = directions) -> float:
            by = far * directions[path]
            return (loss(path, by) - loss(path, -by)) / (2 * far)

        for path, slope in slopes.items():
            if abs(change(path, STEPS[0]) - slope) <= rtol * abs(slope) + floor:
                continue
            changes = [change(path, far) for far in STEPS]
            # Neighbours differ where there is a kink, or few bits: by so much they may be off.
            doubt, best = min((abs(a - b), b) for a, b in pairwise(changes))
            if not abs(best - slope) <= rtol * max(abs(best), abs(slope)) + floor + doubt:
                where = (
                    f"{named(i, len(windows))}the gradient of {path} {values[path].shape} says {slope:.6g} along a "
                    f"random direction, and the loss changes by {best:.6g}"
                )
                cause = (
                    "a backward pass of one's own that is wrong, a detach or stop_gradient on a part of the path, or "
                    "an operator without a true derivative (rounding, argmax, straight-through)"
                )
                broken(LAW, where, cause)


def _direction(random: np.random.Generator, grad: np.ndarray) -> np.ndarray:
    drawn = random.normal(size=grad.shape)
    return drawn / max(float(np.linalg.norm(drawn)), 1e-12)
