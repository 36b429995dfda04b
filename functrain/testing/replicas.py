"""Do replicas learn what one does?"""

from __future__ import annotations

from typing import Any

from functrain.testing.batches import samples
from functrain.testing.distance import furthest, idle, tolerance
from functrain.testing.tools import tools_of
from functrain.testing.updates import updated
from functrain.testing.values import first_difference
from functrain.testing.verdict import broken, nothing

LAW = "check_replicas"
CAUSE = (
    "a part that is cut over the devices by hand and sees its own samples alone (a normalisation), a sum over devices "
    "where a mean belongs (psum for pmean), or a constant made of the number of devices"
)


def check_replicas(
    module: Any, batch: Any, n: int, *, updates: int = 3, rtol: float | None = None, seed: int = 0, **flags: Any
) -> None:
    """A batch that is spread over so many devices gives the losses and the parameters that it gives on one.

    For modules of JAX. Replicas of torch are processes, in which nothing trains yet: there it raises NothingToCheck.

    Args:
        n: devices, each of which gets as many samples.
        updates: that both make.
        rtol: how far losses and parameters may be off, as a part of their size; default: 1e-3, and 0.05 at a lower
            precision.

    Raises:
        NothingToCheck: there are fewer devices; says what is missing.
    """
    if n < 2:
        raise ValueError(f"{LAW}(n={n!r}): must be at least 2.")
    tools, rtol = tools_of(module), tolerance(rtol, flags)
    step = tools.functional(module, flags)
    one = start = step.init(seed=seed)
    count = samples(LAW, tools.taken_apart(batch)[0])
    many = tools.spread(LAW, start, n, None)
    if count % n:
        raise ValueError(f"{LAW}(n={n}): {count} samples cannot be spread evenly over {n} devices.")
    shards = tools.spread(LAW, batch, n, count)
    still = idle(LAW, tools, module, batch, seed, flags)
    for update in range(1, updates + 1):
        one, made = updated(LAW, step, one, batch)
        many, others = updated(LAW, step, many, shards)
        for i, (a, b) in enumerate(zip(made, others, strict=True)):
            if a is not None and b is not None and not abs(a.loss - b.loss) <= rtol * abs(a.loss):
                where = (
                    f"the loss of update {update} of optimizer {i} is {b.loss:.6g} on {n} devices, {a.loss:.6g} on one"
                )
                broken(LAW, where, CAUSE)
        now = {path: array for path, array in tools.arrays(one).items() if path not in still}
        path, error = furthest(now, tools.arrays(many))
        if not error <= rtol:
            where = f"after update {update} {path} {now[path].shape} is off by {error:.2g} of its size on {n} devices"
            broken(LAW, where, CAUSE)
    if first_difference(tools.arrays(start), tools.arrays(one)) is None:
        nothing(LAW, f"{updates} updates have changed nothing")
