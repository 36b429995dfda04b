"""Two real processes, each with a copy of one model: they end at the same batch, whatever only one of them is told."""

from __future__ import annotations

import signal

import pytest


def test_every_process_knows_which_it_is(pair, tmp_path):
    first, second = pair.run("ranks", tmp_path)
    assert first == {"trainer": (0, 0, 0, 2, True), "module": (0, 0)}
    assert second == {"trainer": (1, 1, 0, 2, False), "module": (1, 1)}


@pytest.mark.parametrize("asked", [[5, None], [None, 5]])
def test_both_end_at_the_same_batch_where_one_asks_for_the_end(pair, tmp_path, asked):
    first, second = pair.run("stop_at", tmp_path, update=asked)
    assert first["at"] == second["at"]
    assert 5 <= first["at"][2] < 200
    assert first["should_stop"]
    assert second["should_stop"]


def test_both_end_after_the_epoch_in_which_one_asks_for_it(pair, tmp_path):
    assert pair.run("stop_after_epoch", tmp_path, epoch=[None, 1]) == [(2, 0, 12)] * 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_one_process_ends_both_at_the_same_batch(pair, tmp_path, number):
    first, second = pair.run("interrupt_at", tmp_path, update=[None, 5], number=int(number))
    assert first == second
    assert first["interrupted"]
    assert 5 <= first["at"][2] < 200
    assert first["ended"] == (143 if number == signal.SIGTERM else None)


def test_both_end_at_the_same_batch_where_the_time_of_one_is_over(pair, tmp_path):
    first, second = pair.run("time_over", tmp_path, late=[False, True])
    assert first == second
    assert first[2] < 200


def test_nobody_is_asked_between_look_ups(pair, tmp_path):
    first, second = pair.run("stop_at", tmp_path, update=None)
    assert first["calls"] == second["calls"]
    assert first["at"][2] == 200
    assert len(first["calls"]) < 100


@pytest.mark.parametrize("counts", [[6, 4], [4, 6]])
def test_loaders_of_different_lengths_are_an_error_on_both(pair, tmp_path, counts):
    for kind, error in pair.outcomes("uneven", tmp_path, count=counts):
        assert kind == "raised"
        assert "do not stand at the same place (process 0: epoch 0, batch " in error


def test_where_one_fails_the_other_ends_too(pair, tmp_path):
    first, second = pair.outcomes("fails", tmp_path, update=[None, 3])
    assert second[0] == "raised"
    assert second[1].startswith("ValueError: a mistake")
    assert first[0] == "raised"
