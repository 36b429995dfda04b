"""How many Python calls of ours a training step costs: counted, so the figures repeat exactly."""

import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import functrain
import functrain_torch
import functrain_torch as pl
from tests.adapters.torch.small import Net, batches, trainer

FOLDERS = tuple(str(Path(package.__file__ or "").parent) for package in (functrain, functrain_torch))
MOST_PLAIN, MOST_WITH_A_LOG = 40, 60


class Logging(Net):
    """The same with one self.log."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.log("train_loss", loss)
        return loss


class Epochs(Logging):
    """And with the epoch's mean."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.log("train_loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        return loss


def calls(model: pl.LightningModule, n: int, **flags: Any) -> Counter[str]:
    """The calls of functions in our packages during a fit of n batches, by function."""
    counts: Counter[str] = Counter()

    def profile(frame: FrameType, event: str, arg: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(FOLDERS):
            counts[f"{Path(code.co_filename).stem}.{code.co_qualname}"] += 1

    run, loader = trainer(max_epochs=1, **flags), batches(n)
    sys.setprofile(profile)
    try:
        run.fit(model, loader)
    finally:
        sys.setprofile(None)
    return counts


def a_step(model: type[Net], **flags: Any) -> tuple[float, Counter[str]]:
    """Calls a step: what 50 more steps cost, start and end of the run apart."""
    more = calls(model(), 60, **flags)
    more.subtract(calls(model(), 10, **flags))
    return sum(more.values()) / 50, more


@pytest.mark.parametrize(
    ("model", "most", "flags"),
    [
        (Net, MOST_PLAIN, {}),
        (Net, MOST_PLAIN, {"gradient_clip_val": 1.0}),
        (Net, MOST_PLAIN, {"accumulate_grad_batches": 4}),
        (Logging, MOST_WITH_A_LOG, {}),
        (Epochs, MOST_WITH_A_LOG, {}),
    ],
)
def test_calls_a_step(model: type[Net], most: int, flags: dict[str, Any]):
    count, by_function = a_step(model, **flags)
    assert count <= most, by_function.most_common(20)


def test_the_count_repeats():
    assert calls(Net(), 20) == calls(Net(), 20)


def test_a_hook_costs_what_it_adds():
    """A hook at every batch brings the loop to single batches, and stays within the same order."""

    class Hooked(Net):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            pass

    plain, hooked = a_step(Net)[0], a_step(Hooked)[0]
    assert plain < hooked <= plain + 100
