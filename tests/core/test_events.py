"""Places among a run's events as checkpoints keep them."""

import pickle

import pytest

from functrain.kernel.state import Clock
from functrain.trainer.errors import CheckpointError
from functrain.trainer.events import Event, Moment, named, numbered, turned_before
from tests import inside

EVENTS = inside.event_table()

PLACES = [(kind, done) for kind, events in EVENTS.items() for done in range(len(events) + 1)]


@pytest.mark.parametrize("place", PLACES)
def test_a_place_is_found_again_by_its_name(place):
    assert numbered(EVENTS, named(EVENTS, place)) == place


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (["start", 2], ["start", "on_train_epoch_start"]),
        (["batch", 4], ["batch", "checkpoint"]),
        (["batch", 6], ["batch", "done"]),
        (["epoch", 1], ["end", "validate"]),
        (["epoch", 2], ["end", "on_validation_end"]),
        (["epoch", 4], ["epoch", "on_train_epoch_end"]),
        (["epoch", 8], ["epoch", "checkpoint"]),
        (["epoch", 9], ["epoch", "stop"]),
        (["epoch", 10], ["epoch", "done"]),
    ],
)
def test_a_place_of_format_1_is_understood(number, name):
    assert named(EVENTS, numbered(EVENTS, number)) == name


def test_in_format_1_the_clock_had_turned_before_the_checkpoint_of_an_epochs_end():
    assert [n for n in range(11) if turned_before(["epoch", n])] == [8, 9]
    assert not turned_before(["epoch", "checkpoint"])
    assert not turned_before(["batch", 4])


@pytest.mark.parametrize("place", [["batch", "nothing"], ["nowhere", 0], ["batch", 9], "batch"])
def test_a_place_that_there_is_not_is_an_error(place):
    with pytest.raises((CheckpointError, ValueError)):
        numbered(EVENTS, place)


def test_a_place_of_format_1_stays_where_it_was_when_an_event_is_added():
    more = {**EVENTS, "batch": (Event("new", lambda loop, kind: None), *EVENTS["batch"])}
    assert named(more, numbered(more, ["batch", 4])) == ["batch", "checkpoint"]


def test_names_of_a_kind_differ():
    for events in EVENTS.values():
        assert len({event.name for event in events}) == len(events)


def test_a_moment_is_its_kind_and_knows_what_was_passed():
    moment = Moment("steps", Clock(0, 2, 9), Clock(0, 5, 12))
    assert (moment, moment.kind, f"{moment}") == ("steps",) * 3
    assert [every for every in range(1, 14) if moment.passed(every)] == [1, 2, 3, 4, 5, 6, 10, 11, 12]
    again = pickle.loads(pickle.dumps(moment))
    assert (again, again.before, again.now) == (moment, moment.before, moment.now)
