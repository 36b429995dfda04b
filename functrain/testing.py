"""Laws for users' own training steps, for any test runner: each check returns, or raises an AssertionError that says
which law is broken, where, and what the usual cause is. Knows no framework: an adapter has the tools for its arrays."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

__all__ = ["check_gradients", "check_loss_at_init", "check_overfits", "check_pure"]


class Tools(Protocol):
    """What the checks ask of a framework."""

    def functional(self, module: Any, flags: Mapping[str, Any]) -> Any:
        """Return the `Step` of a module, which keeps old states alive."""
        ...

    def arrays(self, state: Any) -> dict[str, np.ndarray]:
        """Return copies of all parameters and of what the forward pass changes, by path."""
        ...

    def gradients(self, state: Any) -> dict[str, np.ndarray | None]:
        """Return the gradients of an open window, for what the optimizers that played move, by path."""
        ...

    def attributes(self, module: Any, state: Any) -> dict[str, Any]:
        """Return the plain attributes which a step of this module could write, by name."""
        ...


_known: list[tuple[type, Callable[[], Tools]]] = []


def register(kind: type, tools: Callable[[], Tools]) -> None:
    """Have the modules of this class be checked with these tools, which are made when they are first used."""
    _known.append((kind, tools))


def check_gradients(module: Any, batch: Any, *, seed: int = 0, **flags: Any) -> None:
    """Every parameter that an optimizer moves gets a gradient that is finite and not zero everywhere.

    With several optimizers it looks at those whose turn the first batch is.
    """
    tools = _tools(module)
    step = tools.functional(module, {**flags, "accumulate_grad_batches": 2})
    state, _ = step.step(step.init(seed=seed), batch)
    for path, grad in tools.gradients(state).items():
        if grad is None:
            _broken("check_gradients", f"{path} has no gradient", "the loss does not use it, or a detach cuts it off")
        elif not np.isfinite(grad).all():
            count = int((~np.isfinite(grad)).sum())
            where = f"the gradient of {path} is not finite in {count} of its {grad.size} numbers"
            _broken("check_gradients", where, "a root, logarithm or division at 0, or an overflow")
        elif not grad.any():
            cause = "a dead activation, a cut-off path (stop_gradient, detach), or weights that begin at 0 behind it"
            _broken("check_gradients", f"the gradient of {path} {grad.shape} is zero everywhere", cause)


def check_loss_at_init(
    module: Any, batch: Any, expected: float, *, rtol: float = 0.2, optimizer: int = 0, seed: int = 0, **flags: Any
) -> None:
    """The first loss is near what a network that knows nothing has, such as log(classes)."""
    step = _tools(module).functional(module, flags)
    _, report = step.step(step.init(seed=seed), batch, last=True)
    loss = _loss(report, optimizer)
    if not abs(loss - expected) <= rtol * abs(expected):
        where = f"the first loss is {loss:.6g}, not {expected:.6g} within {rtol:.0%}"
        cause = "a last layer that begins too large, softmax twice, or a sum in place of a mean"
        _broken("check_loss_at_init", where, cause)


def check_overfits(
    module: Any,
    batch: Any,
    *,
    updates: int = 100,
    factor: float = 0.1,
    optimizer: int = 0,
    seed: int = 0,
    **flags: Any,
) -> None:
    """One batch is learned: within this many steps its loss falls to `factor` of the first."""
    step = _tools(module).functional(module, flags)
    state = step.init(seed=seed)
    first = last = float("nan")
    for number in range(updates + 1):
        state, report = step.step(state, batch, last=True)
        last = _loss(report, optimizer)
        first = last if number == 0 else first
        if not np.isfinite(last):
            _broken("check_overfits", f"the loss of update {number + 1} is {last}", "a learning rate that is too high")
        if number and last <= factor * first:
            return
    where = f"after {updates} updates of one batch the loss is {last:.6g}; it began at {first:.6g}"
    cause = "inputs and targets that do not belong together, a part that no optimizer moves, or a learning rate too low"
    _broken("check_overfits", where, cause)


def check_pure(module: Any, batch: Any, *, seed: int = 0, **flags: Any) -> None:
    """The same state and batch give the same bits twice; a step leaves the old state, the global generators and the
    attributes of the module as they were."""
    tools = _tools(module)
    step = tools.functional(module, flags)
    state = step.init(seed=seed)
    before, attributes, drawn = tools.arrays(state), tools.attributes(module, state), _generators()
    once, _ = step.step(state, batch, last=True)
    after = tools.attributes(module, once)
    if _generators() != drawn:
        cause = "random numbers of Python or numpy within the step: draw them in the data, or by the framework's keys"
        _broken("check_pure", "the step has moved a global random generator", cause)
    for name in sorted({*attributes, *after}):
        if attributes.get(name) != after.get(name):
            where = f"the step has changed {name} from {attributes.get(name)!r} to {after.get(name)!r}"
            _broken("check_pure", where, "a counter or a cache in the step; keep it in a buffer, or log it")
    _same(
        "check_pure", "the step has written into the old state", before, tools.arrays(state), "arrays that are shared"
    )
    twice, _ = step.step(state, batch, last=True)
    cause = "something outside of the state takes part: a global variable, the time, or a nondeterministic operator"
    _same("check_pure", "the same step twice gives other bits", tools.arrays(once), tools.arrays(twice), cause)


def _tools(module: Any) -> Tools:
    for kind, make in reversed(_known):
        if isinstance(module, kind):
            return make()
    raise TypeError(f"{module!r} is no module of functrain_torch or functrain_jax: give an instance of one.")


def _loss(report: Any, optimizer: int) -> float:
    update = report.updates[optimizer]
    if update is None:
        raise ValueError(f"optimizer {optimizer} makes no update with the first batch: give another optimizer=.")
    return float(update.loss)


def _generators() -> tuple[Any, ...]:
    kind, words, *rest = np.random.get_state()
    return random.getstate(), kind, np.asarray(words).tobytes(), *rest


def _same(law: str, what: str, one: dict[str, np.ndarray], other: dict[str, np.ndarray], cause: str) -> None:
    for path, array in one.items():
        now = other[path]
        if array.tobytes() != now.tobytes():
            apart = np.abs(np.asarray(array, np.float64) - np.asarray(now, np.float64)).max()
            _broken(law, f"{what}: first in {path} {array.shape}, by up to {apart:.3g}", cause)


def _broken(law: str, where: str, cause: str) -> None:
    raise AssertionError(f"{law}: {where}. The usual cause: {cause}.")
