"""torch: real processes, killed with SIGKILL wherever it hurts, or interrupted with SIGINT."""

from __future__ import annotations

import os

import pytest

from tests.resume.in_processes import INTERRUPTS, KILLS
from tests.resume.scripts import results_of


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """One script for all of them: importing is what takes the time."""
    return results_of("in_processes", tmp_path_factory.mktemp("processes"), {"PATH": ""})


@pytest.mark.parametrize("where", [f"{where} {ns}" for where, many in KILLS.items() for ns in many])
def test_killed(where, results):
    """The next process goes on from the last checkpoint, and ends with the same bits, log and files."""
    assert results[where] == []


def test_ctrl_c_within_a_window(results):
    """The batch under way is finished; the epoch is not ended before its time."""
    found = results["interrupt training_step 5 1"]
    steps = [call for call in found["calls"] if call == "training_step"]
    assert len(steps) == 5
    assert found["calls"][-3:] == ["on_keyboard_interrupt", "on_train_end", "teardown"]
    assert "on_train_epoch_end" not in found["calls"]


def test_ctrl_c_in_the_last_batch_of_an_epoch(results):
    assert results["interrupt training_step 7 1"]["calls"].count("on_train_epoch_end") == 1


def test_ctrl_c_in_a_validation(results):
    """It ends at its next batch, and is done over whole by the run that continues."""
    calls = results["interrupt validation_step 3 1"]["calls"]
    assert calls[calls.index("training_step") :].count("validation_step") == 1
    assert calls[-3:] == ["on_keyboard_interrupt", "on_train_end", "teardown"]


@pytest.mark.parametrize("where", [f"interrupt {where} {n} {presses}" for where, n, presses in INTERRUPTS])
def test_after_ctrl_c_everything_is_whole(where, results):
    found = results[where]
    assert "error" not in found, found
    assert (found["interrupted"], found["handler back"], found["grad"], found["training"]) == (True,) * 4
    if where.endswith(" 1"):
        assert found["differences"] == []
    else:
        assert "interrupt.ckpt" not in found["files"], "the second Ctrl-C ends the run at once"
        assert found["calls"].count("on_keyboard_interrupt") == 1


def test_a_disk_that_fills_up_leaves_the_checkpoint_before(results):
    found = results["full disk"]
    assert "what was there before is untouched" in found["said"], found
    assert "step=" in found["said"]
    assert "What to do: raise the limit on file sizes" in found["said"]
    assert found["told"] == ["OSError"]
    assert found["files"] == [os.path.basename(found["best"])]
    assert f"step={found['left'] + 1}.ckpt" in found["said"], "the one before it is left"
    assert found["left"] < found["step"]


def test_killed_in_the_middle_of_a_big_file(results):
    """What stands under the name is whole; the half written one has another."""
    assert results["killed while writing"] == {"whole": True, "others": 1}
