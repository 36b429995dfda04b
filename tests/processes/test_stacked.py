"""A short fit within a run of two real processes."""

from __future__ import annotations

import signal

import pytest


def test_both_go_on_as_if_there_had_been_no_short_fit(pair, tmp_path):
    undisturbed = pair.run("resuming.within", tmp_path, tunes=False)
    told = pair.run("resuming.within", tmp_path)
    for own, whole in zip(told, undisturbed, strict=True):
        assert own["ends"] == [(40, False)]
        assert (own["seen"], own["weight"]) == (whole["seen"], whole["weight"])


@pytest.mark.parametrize("number", [[None, signal.SIGINT], [signal.SIGINT, None]])
def test_a_signal_to_one_of_them_ends_the_short_fit_and_the_run_on_both(pair, tmp_path, number):
    first, second = pair.run("resuming.within", tmp_path, number=[each and int(each) for each in number])
    assert first["ends"] == second["ends"]
    ((steps, interrupted),) = first["ends"]
    assert 1 <= steps < 40
    assert interrupted
    assert first["interrupted"]
    assert second["interrupted"]
    assert first["at"] == second["at"]
    assert first["at"][0] == 0
