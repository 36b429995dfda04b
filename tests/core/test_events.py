"""Places among a run's events as checkpoints keep them."""

import pytest

from functrain.trainer.events import EVENTS, named, numbered, turned_before

PLACES = [(kind, done) for kind, events in EVENTS.items() for done in range(len(events) + 1)]


@pytest.mark.parametrize("place", PLACES)
def test_a_place_is_found_again_by_its_name(place):
    assert numbered(named(place)) == place


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
    assert named(numbered(number)) == name


def test_in_format_1_the_clock_had_turned_before_the_checkpoint_of_an_epochs_end():
    assert [n for n in range(11) if turned_before(["epoch", n])] == [8, 9]
    assert not turned_before(["epoch", "checkpoint"])
    assert not turned_before(["batch", 4])


@pytest.mark.parametrize("place", [["batch", "nothing"], ["nowhere", 0], ["batch", 9], "batch"])
def test_a_place_that_there_is_not_is_an_error(place):
    with pytest.raises((LookupError, ValueError)):
        numbered(place)
