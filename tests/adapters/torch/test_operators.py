"""Which of torch's operators a step runs beside those of a loop by hand: each costs more than ten of our own calls."""

from collections import Counter
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import functrain_torch as pl
from tests.adapters.torch.small import QUIET, Net, batches

FEW, MORE = 8, 16


class Operators(TorchDispatchMode):
    """Counts the operators that run within it."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "profiler" not in str(func):
            self.counts[str(func)] += 1
        return func(*args, **(kwargs or {}))


class Logging(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.log("loss", loss)
        return loss


def of_steps(run: Any) -> Counter[str]:
    """The operators of `MORE - FEW` steps of a run, without those of its beginning and end."""
    counts: list[Counter[str]] = []
    for n in (FEW, MORE):
        with Operators() as operators:
            run(n)
        counts.append(operators.counts)
    return counts[1] - counts[0]


def beside(net: type[Net], window: int = 1, **flags: Any) -> dict[str, float]:
    """What the Trainer runs a step that the loop by hand does not run; below 0 what it leaves out."""

    def trained(n: int) -> None:
        pl.Trainer(max_epochs=1, accumulate_grad_batches=window, **flags, **QUIET).fit(net(), batches(n))

    def by_hand(n: int) -> None:
        module = Net()
        optimizer: Any = module.configure_optimizers()
        for i, batch in enumerate(batches(n)):
            loss = module.training_step(batch, i)
            if i % window == 0:
                optimizer.zero_grad()
            loss.backward()
            if i % window == window - 1:
                torch._foreach_mul_([p.grad for p in module.parameters()], 1 / window) if window > 1 else None
                if flags:
                    torch.nn.utils.clip_grad_norm_(module.parameters(), flags["gradient_clip_val"])
                optimizer.step()

    counts = of_steps(trained)
    counts.subtract(of_steps(by_hand))
    return {name: count / (MORE - FEW) for name, count in counts.items() if count}


@pytest.mark.parametrize(("net", "detached"), [(Net, 1), (Logging, 2)])
def test_a_plain_step_runs_a_detach_more_than_a_loop_by_hand_and_one_a_log(net: type[Net], detached: int):
    assert beside(net) == {"aten.detach.default": detached}


def test_an_accumulating_step_adds_up_the_losses_of_its_window_beside():
    assert beside(Net, window=4) == {"aten.detach.default": 1, "aten.add.Tensor": 0.75}


def test_a_clipped_step_runs_no_operator_more_over_gradients():
    more = beside(Net, gradient_clip_val=0.1)
    assert sum(more.values()) <= 5, more  # scalars: the limit over the norm, and the loss kept
    assert not [name for name in more if "foreach" in name or name.endswith("_.Tensor")], more
