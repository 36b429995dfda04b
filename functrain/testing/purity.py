"""Is a step a function of its state and its batch?"""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from functrain.testing.tools import tools_of
from functrain.testing.verdict import broken, same_bits

LAW = "check_pure"


def check_pure(module: Any, batch: Any, *, seed: int = 0, **flags: Any) -> None:
    """The same state and batch give the same bits twice; a step leaves the old state, the global generators and the
    attributes of the module as they were."""
    tools = tools_of(module)
    step = tools.functional(module, flags)
    state = step.init(seed=seed)
    before, attributes, drawn = tools.arrays(state), tools.attributes(module, state), _generators()
    once, _ = step.step(state, batch, last=True)
    after = tools.attributes(module, once)
    if _generators() != drawn:
        cause = "random numbers of Python or numpy within the step: draw them in the data, or by the framework's keys"
        broken(LAW, "the step has moved a global random generator", cause)
    for name in sorted({*attributes, *after}):
        if attributes.get(name) != after.get(name):
            where = f"the step has changed {name} from {attributes.get(name)!r} to {after.get(name)!r}"
            broken(LAW, where, "a counter or a cache in the step; keep it in a buffer, or log it")
    same_bits(LAW, "the step has written into the old state", before, tools.arrays(state), "arrays that are shared")
    twice, _ = step.step(state, batch, last=True)
    cause = "something outside of the state takes part: a global variable, the time, or a nondeterministic operator"
    same_bits(LAW, "the same step twice gives other bits", tools.arrays(once), tools.arrays(twice), cause)


def _generators() -> tuple[Any, ...]:
    kind, words, *rest = np.random.get_state()
    return random.getstate(), kind, np.asarray(words).tobytes(), *rest
