"""Checkpoints that an earlier version has written are read, and their runs continue as if nothing had been between."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import inside
from tests.resume.common import differences, disturb
from tests.resume.fixtures import make


def rows(folder: Path) -> list[dict[str, float]]:
    """The rows of a run's metrics, without their empty cells."""
    with open(folder / "version_0" / "metrics.csv", newline="", encoding="utf-8") as file:
        return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]


def end(trainer: Any, folder: Path, world: str) -> dict[str, Any]:
    """What a run ends with; `values` are those whose last bits depend on the machine that computes them."""
    early, saves, rates, kept = trainer.callbacks
    trainer.save_checkpoint(folder / "end.ckpt")
    saved = inside.read(folder / "end.ckpt", world)
    state = early.state_dict()
    return {
        "position": inside.position(trainer),
        "rng": saved["rng"],
        "calls": saves.calls,
        "waited": (state.pop("wait_count"), state.pop("stopped_epoch")),
        "values": {
            "state_dict": saved["state_dict"],
            "optimizers": saved.get("optimizer_states"),
            "schedulers": saved.get("lr_schedulers"),
            "players": saved["players"],
            "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
            "early": early.best_score,
            "kept": (kept.best_model_score, kept.current_score),
            "rates": rates.lrs,
            "rows": rows(folder),
        },
    }


@pytest.fixture(scope="module", params=list(make.PROGRAMS))
def whole(request: Any, tmp_path_factory: Any) -> tuple[str, Path, dict[str, Any]]:
    """A world's uninterrupted run, made now: the world, where it saved, and what it ends with."""
    world, folder = request.param, tmp_path_factory.mktemp("whole")
    return world, folder, end(make.run(world, folder, saves=folder), folder, world)


def the_same_bits_so_far(world: str, folder: Path, path: Path) -> bool:
    """Has this machine come to the very weights that the one which wrote the checkpoint had come to?"""
    there, here = (inside.read(each, world)["state_dict"] for each in (path, folder / path.name))
    assert there.keys() == here.keys()
    return not differences(dict(there), dict(here))


def close(found: Any, expected: Any) -> None:
    """The same but for the last bits."""
    if isinstance(expected, dict | list | tuple):
        assert len(found) == len(expected)
        keys = expected if isinstance(expected, dict) else range(len(expected))
        for key in keys:
            close(found[key], expected[key])
    elif isinstance(expected, str) or expected is None:
        assert found == expected
    else:
        np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("place", make.PLACES)
def test_a_run_continues_from_a_checkpoint_that_an_earlier_version_has_written(whole, place: str, tmp_path: Path):
    world, folder, expected = whole
    path = make.path_of(world, place)
    # Neither program draws from the global generators of Python and numpy; but libraries did when the process that
    # wrote the checkpoint first imported them. So those are held against the checkpoint.
    saved = inside.read(path, world)["rng"]
    expected = {**expected, "rng": {**saved, world: expected["rng"][world], "held": expected["rng"]["held"]}}
    disturb()
    found = end(make.run(world, tmp_path, seed=99, ckpt_path=path), tmp_path, world)
    # A world that was not loaded there, or none of the checkpoint's, begins with the seed.
    found["rng"] = {name: found["rng"][name] for name in saved}
    if place == "validation":  # it is done over
        found["calls"]["on_validation_start"] -= 1
    # What came before was logged by the run that wrote the checkpoint.
    tails = {"rows": expected["values"]["rows"][-len(found["values"]["rows"]) :]}
    tails["rates"] = {
        key: expected["values"]["rates"][key][-len(own) :] for key, own in found["values"]["rates"].items()
    }
    expected = {**expected, "values": {**expected["values"], **tails}}
    assert len(found["values"]["rows"]) > 5
    if the_same_bits_so_far(world, folder, path):
        assert not differences(found, expected)
    else:
        close(found.pop("values"), expected.pop("values"))
        assert not differences(found, expected)
