"""Which process this is, as the environment says it, and who joins several."""

from __future__ import annotations

import pytest

from functrain import Trainer
from functrain.trainer import world
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.world import Alone, Ranks


def test_the_environment_says_which_process_this_is():
    told = {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", "NODE_RANK": "1"}
    assert world.ranks(told) == Ranks(3, 4, 1, 1)
    assert world.ranks({}) == world.ranks({"WORLD_SIZE": "1", "LOCAL_RANK": "2"}) == Ranks(0, 1, 0, 0)


@pytest.mark.parametrize("told", [{"WORLD_SIZE": "two"}, {"WORLD_SIZE": "2", "RANK": "-1"}])
def test_a_rank_that_is_no_number_is_named(told):
    with pytest.raises(ConfigurationError, match=r"(WORLD_SIZE='two'|RANK='-1') in the environment"):
        world.ranks(told)


def test_a_rank_outside_of_the_world_is_named():
    with pytest.raises(ConfigurationError, match="RANK=2 with WORLD_SIZE=2"):
        world.ranks({"WORLD_SIZE": "2", "RANK": "2"})


def test_a_trainer_that_was_started_as_one_of_several_says_that_nothing_joins_them(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.warns(UserWarning, match="WORLD_SIZE=2 is in the environment, and nothing here joins"):
        trainer = Trainer(logger=False)
    assert (trainer.world_size, trainer.global_rank, trainer.is_global_zero) == (1, 0, True)


def test_only_the_first_process_calls_what_is_marked_so(monkeypatch):
    @world.rank_zero_only
    def name() -> str:
        return "first"

    assert name() == "first"
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert name() is None


class Two(Alone):
    """The second of two processes, which is told what the first says."""

    rank, size = 1, 2

    def __init__(self, told):
        self.told = told

    def broadcast(self, value):
        return self.told


def test_the_others_end_where_the_first_one_fails():
    assert world.on_first(Alone(), lambda: 7) == 7
    assert world.on_first(Two((7, None)), lambda: 1 / 0) == 7
    with pytest.raises(RuntimeError, match="process 0 of 2 failed, so this one, 1, ends too: OSError: disk full"):
        world.on_first(Two((None, "OSError: disk full")), lambda: 7)
