"""The tuner in two real processes."""

from __future__ import annotations


def test_both_set_the_rate_that_the_first_has_found(pair, tmp_path):
    first, second = pair.run("tuning.find", tmp_path, center=[1.0, 5.0])
    assert len(first["results"]["lr"]) == 30
    assert first == second
    assert first["lr"] != 0.1
    assert first["weight"] == 0.0


def test_a_loss_that_diverges_in_one_of_them_ends_it_on_both(pair, tmp_path):
    # The loss of the first is zero throughout.
    first, second = pair.run("tuning.find", tmp_path, center=[0.0, 5.0], max_lr=1000.0)
    assert len(first["results"]["lr"]) < 30
    assert first == second


def test_the_size_is_searched_in_one_process(pair, tmp_path):
    for kind, error in pair.outcomes("tuning.scale", tmp_path):
        assert kind == "raised"
        assert "a process that runs out of memory leaves the others waiting" in str(error)
