"""What the way to a training step costs: our frames above it, and our Python calls a step, both counted."""

import sys
from collections import Counter
from typing import Any

import pytest

import functrain_torch as pl
from tests.adapters.torch.small import QUIET, Net, batches, trainer
from tests.counting import Calls, counted, frames_above

MOST_FRAMES = 10
MOST_PLAIN, MOST_WITH_A_LOG, MOST_WITH_DEFAULTS = 20, 22, 23
MOST_CLIPPED, MOST_WITH_EPOCH_MEANS = 26, 28
FIRST, LAST = 100, 200
"""Calls are counted between these batches: after the first rows of loggers, before the epoch's end."""


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


def a_step(model: type[Net], **flags: Any) -> tuple[float, Counter[str]]:
    """Our calls a step in mid-epoch, and those of all counted steps by function."""
    calls = Calls()

    class Counted(model):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            calls.between(batch_idx, FIRST, LAST)
            return super().training_step(batch, batch_idx)

    try:
        pl.Trainer(max_epochs=1, **flags).fit(Counted(), batches(LAST + 20))
    finally:
        calls.stop()
    return sum(calls.counts.values()) / (LAST - FIRST), calls.counts


@pytest.mark.parametrize("flags", [{}, {"accumulate_grad_batches": 2}], ids=str)
def test_frames_between_fit_and_the_training_step(flags: dict[str, Any]):
    seen: list[list[str]] = []

    class Looks(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            seen.append(frames_above(sys._getframe(1)))
            return super().training_step(batch, batch_idx)

    trainer(max_epochs=2, **flags).fit(Looks(), batches(6))
    longest = max(seen, key=len)
    assert len(seen) == 12
    assert longest[-1] == "trainer.Trainer.fit"
    assert len(longest) <= MOST_FRAMES, longest


@pytest.mark.parametrize(
    ("model", "most", "flags"),
    [
        (Net, MOST_PLAIN, QUIET),
        (Net, MOST_CLIPPED, {**QUIET, "gradient_clip_val": 1.0}),
        (Net, MOST_PLAIN, {**QUIET, "accumulate_grad_batches": 4}),
        (Logging, MOST_WITH_A_LOG, QUIET),
        (Epochs, MOST_WITH_EPOCH_MEANS, QUIET),
        (Logging, MOST_WITH_DEFAULTS, {}),
    ],
    ids=["plain", "clipped", "accumulated", "with a log", "with epoch means", "with a log and all defaults"],
)
def test_calls_a_step(model: type[Net], most: int, flags: dict[str, Any]):
    count, by_function = a_step(model, **flags)
    assert 0 < count <= most, (count, by_function.most_common(30))


def test_the_count_repeats():
    def fit() -> Counter[str]:
        run, model, loader = trainer(max_epochs=1), Net(), batches(20)
        with counted() as counts:
            run.fit(model, loader)
        return counts

    fit()  # what is imported when it is first needed
    assert fit() == fit()


def test_a_hook_costs_what_it_adds():
    """A hook at every batch brings the loop to single batches, and stays within the same order."""

    class Hooked(Net):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            pass

    plain, hooked = a_step(Net, **QUIET)[0], a_step(Hooked, **QUIET)[0]
    assert plain < hooked <= plain + 100
