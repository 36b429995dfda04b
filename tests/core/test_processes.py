"""What a checkpoint of several processes gives back to each, and what it says where it was changed."""

from __future__ import annotations

import pytest

from functrain.trainer import processes
from functrain.trainer.world import Alone

SAVED = {
    "rng": {"python": 1}, "weights": 2, "callbacks": {"A": 3, "B": 4}, "players": [{"window": None}, {"window": 5}],
    "others": [[[["rng"], {"python": 6}], [["callbacks", "A"], None], [["players", 1, "window"], 7]]],
}  # fmt: skip


class Second(Alone):
    rank, size = 1, 2


class First(Second):
    rank = 0


def test_each_process_has_its_own_parts_and_the_rest_of_the_first():
    first = {key: value for key, value in SAVED.items() if key != "others"}
    assert processes.own(First(), SAVED, "a.ckpt") == first
    assert processes.own(Second(), SAVED, "a.ckpt") == {
        "rng": {"python": 6}, "weights": 2, "callbacks": {"A": None, "B": 4},
        "players": [{"window": None}, {"window": 7}],
    }  # fmt: skip
    assert first["players"][1]["window"] == 5


@pytest.mark.parametrize(
    "others", [{}, [[[["functrain"], {}]]], [[[["players", 9, "window"], 1]]], [[[["players", "x", "window"], 1]]], [7]]
)
def test_parts_that_were_changed_are_an_error_as_any_other_part(others):
    with pytest.raises((TypeError, ValueError, LookupError)):
        processes.own(Second(), {**SAVED, "others": others}, "a.ckpt")
