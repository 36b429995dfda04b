"""Does every parameter learn?"""

from __future__ import annotations

from typing import Any

import numpy as np

from functrain.testing.tools import tools_of
from functrain.testing.verdict import broken

LAW = "check_gradients"


def check_gradients(module: Any, batch: Any, *, seed: int = 0, **flags: Any) -> None:
    """Every parameter that an optimizer moves gets a gradient that is finite and not zero everywhere.

    With several optimizers it looks at those whose turn the first batch is.
    """
    tools = tools_of(module)
    step = tools.functional(module, {**flags, "accumulate_grad_batches": 2})
    state, _ = step.step(step.init(seed=seed), batch)
    for path, grad in tools.gradients(state).items():
        if grad is None:
            broken(LAW, f"{path} has no gradient", "the loss does not use it, or a detach cuts it off")
        elif not np.isfinite(grad).all():
            count = int((~np.isfinite(grad)).sum())
            where = f"the gradient of {path} is not finite in {count} of its {grad.size} numbers"
            broken(LAW, where, "a root, logarithm or division at 0, or an overflow")
        elif not grad.any():
            cause = "a dead activation, a cut-off path (stop_gradient, detach), or weights that begin at 0 behind it"
            broken(LAW, f"the gradient of {path} {grad.shape} is zero everywhere", cause)
