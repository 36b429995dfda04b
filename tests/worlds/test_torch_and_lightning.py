"""The same program in functrain_torch and in pytorch-lightning, within what both document."""

from pathlib import Path

import pytest

from tests.worlds.differences import TORCH_AND_LIGHTNING, Difference
from tests.worlds.generate import program_in_lightning_too
from tests.worlds.hold import Pair, seeds
from tests.worlds.observe import Event, Record
from tests.worlds.program import Log
from tests.worlds.torch_world import run_torch

pytest.importorskip("pytorch_lightning", reason="the peer is an extra: pip install 'functrain[bench]'")
from tests.worlds.lightning_world import run_lightning

OWN_WORDS = ("warning", "interrupted", "module train_dataloader", "module val_dataloader")
"""Each API's own: warnings, what counts as interrupted (errors do there), the order in which loaders are asked for."""

LATE = ("on_train_end", "on_fit_end", "teardown")
IN_TRAINING = (
    "on_train_batch_start",
    "on_train_batch_end",
    "on_train_epoch_start",
    "on_train_epoch_end",
    "on_train_end",
)


def ours(record: Record) -> list[Event]:
    """What both document."""
    shown = {name for log in record.program.logs if log.on_step and log.hook in EVALUATION for name in step_names(log)}
    kept = [event for event in record.events if not event.what.startswith(OWN_WORDS)]
    ends = next((place for place, event in enumerate(kept) if event.what == "end"), len(kept))
    return [
        Event(_words(e), {k: v for k, v in e.values.items() if _both(e, k, i > ends) and _plain_name(k) not in shown})
        for i, e in enumerate(kept)
    ]


def _plain_name(name: str) -> str:
    return name.removeprefix("metrics.").partition("/")[0] if name.startswith("metrics.") else ""


EVALUATION = ("validation_step", "test_step")


def step_names(log: Log) -> tuple[str, ...]:
    """The names of a value of one evaluation step, which our callback_metrics have, and theirs have not."""
    return (log.name,) if log.on_epoch is False else (f"{log.name}_step",)


def _words(event: Event) -> str:
    """That there was an error must agree, and not its text."""
    return "error" if event.what.startswith("error") else event.what


def _both(event: Event, name: str, after: bool) -> bool:
    """Does this number of an event mean the same in both?

    An epoch that a limit or a stop cuts short counts there and not here, where the position after a run is that from
    which another would go on. Metrics are compared where training is: within and after an evaluation they are shown
    at other moments, as are those that went to the loggers.
    """
    hook = event.what.split()[1] if " " in event.what else event.what
    if name == "epoch":
        return not after and hook not in ("end", "row", *LATE)
    if name.startswith("metrics."):
        return hook in (*IN_TRAINING, "end")
    return not name.startswith(("logged.", "bar."))


def theirs(record: Record) -> list[Event]:
    """The rows of training carry the number of the step that was made, from 0; ours how many steps were made."""
    events = record.events
    ends = next((place for place, event in enumerate(events) if event.what == "end"), 0)
    record.events = [_row(event) if place < ends else event for place, event in enumerate(events)]
    return ours(record)


def _row(event: Event) -> Event:
    if event.what != "row" or "epoch" not in event.values:
        return event
    return Event(event.what, {**event.values, "step": event.values["step"] + 1})


PAIR = Pair(("functrain", "lightning"), (run_torch, run_lightning), TORCH_AND_LIGHTNING, views=(ours, theirs))


@seeds(500, together=50)
def test_functrain_and_lightning_see_the_same(seeds: range, tmp_path: Path):
    PAIR.hold(seeds, program_in_lightning_too, tmp_path)


@pytest.mark.parametrize("row", TORCH_AND_LIGHTNING, ids=lambda row: row.reason)
def test_a_difference_of_functrain_and_lightning_is_still_there(row: Difference, tmp_path: Path):
    assert row.concerns(row.example)
    assert PAIR.differ(row.example, tmp_path) is not None, "they agree now: take this row out of differences.py"
