"""What is due when, as tables: every row is a plan and the positions at which something is due."""

import pytest

from functrain.kernel import Action, Clock, Plan, PlayerPlan, Schedule
from functrain.kernel import plan as due

OWN = PlayerPlan


def walk(plan):
    """Every batch of a run to its limit, one by one: the updates before it and the clock after it."""
    clock = Clock()
    while not due.at_limit(plan, clock):
        while not due.epoch_over(plan, clock) and not due.at_limit(plan, clock):
            before, clock = clock.update, due.after(plan, clock, 1)
            yield before, clock
        clock = clock.next_epoch()


def positions(plan, question):
    """(epoch, batches finished in it) wherever the answer is yes."""
    return [(clock.epoch, clock.batch) for before, clock in walk(plan) if question(plan, clock, before)]


def closed(plan, clock, before):
    return clock.update > before


def validated(plan, clock, before):
    return due.validate_due(plan, clock)


WINDOWS = {
    "every batch": (Plan(3, max_epochs=1), [(0, 1), (0, 2), (0, 3)]),
    "windows of two, whole": (Plan(4, Schedule(2), max_epochs=2), [(0, 2), (0, 4), (1, 2), (1, 4)]),
    "windows of two, the last shorter": (
        Plan(5, Schedule(2), max_epochs=2),
        [(0, 2), (0, 4), (0, 5), (1, 2), (1, 4), (1, 5)],
    ),
    "a window longer than the epoch": (Plan(3, Schedule(10), max_epochs=2), [(0, 3), (1, 3)]),
    "a schedule by epoch": (
        Plan(4, Schedule({1: 2, 2: 3}), max_epochs=3),
        [(0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (1, 4), (2, 3), (2, 4)],
    ),
    "two players, 2 and 3": (
        Plan(6, players=(OWN(window=2), OWN(window=3)), max_epochs=1),
        [(0, 2), (0, 3), (0, 4), (0, 6)],
    ),
    "two players, the last shorter": (
        Plan(5, players=(OWN(window=2), OWN(window=3)), max_epochs=1),
        [(0, 2), (0, 3), (0, 4), (0, 5)],
    ),
    "three of the one, one of the other, each in windows of two": (
        Plan(9, Schedule(2), players=(OWN(turn=(0, 3, 4)), OWN(turn=(3, 1, 4))), max_epochs=1),
        # The first plays 1 2 3, 5 6 7 and 9, the second 4 and 8. The first's last window holds 9 alone.
        [(0, 2), (0, 5), (0, 7), (0, 8), (0, 9)],
    ),
}

LOGS = {
    "every two updates": (Plan(5, max_epochs=2, log_updates=2), [(0, 2), (0, 4), (1, 1), (1, 3), (1, 5)]),
    "updates, not batches": (Plan(6, Schedule(2), max_epochs=2, log_updates=2), [(0, 4), (1, 2), (1, 6)]),
    "a shorter window is an update": (Plan(3, Schedule(2), max_epochs=2, log_updates=2), [(0, 3), (1, 3)]),
    "less often than there are updates": (Plan(3, max_epochs=2, log_updates=50), []),
    "two players, one update a window": (
        Plan(6, players=(OWN(window=2), OWN(window=3)), max_epochs=1, log_updates=2),
        [(0, 3), (0, 6)],
    ),
}

CHECKPOINTS = {
    "none": (Plan(3, max_epochs=2), []),
    "every three updates, over epochs": (Plan(4, max_epochs=2, checkpoint_updates=(3,)), [(0, 3), (1, 2)]),
    "two intervals": (
        Plan(7, max_epochs=1, checkpoint_updates=(2, 3)),
        [(0, 2), (0, 3), (0, 4), (0, 6)],
    ),
    "of updates, not batches": (Plan(8, Schedule(3), max_epochs=1, checkpoint_updates=(2,)), [(0, 6)]),
}

VALIDATIONS = {
    "never within the epoch": (Plan(4, max_epochs=2), []),
    "at every epoch's end": (Plan(4, max_epochs=2, val_batches=4), [(0, 4), (1, 4)]),
    "every two of five": (Plan(5, max_epochs=2, val_batches=2), [(0, 2), (0, 4), (1, 2), (1, 4)]),
    "every second epoch": (Plan(3, max_epochs=5, val_batches=3, val_epochs=2), [(1, 3), (3, 3)]),
    "every second epoch, twice in it": (Plan(4, max_epochs=3, val_batches=2, val_epochs=2), [(1, 2), (1, 4)]),
    "in the middle of a window": (Plan(4, Schedule(4), max_epochs=1, val_batches=3), [(0, 3)]),
    "an interval longer than the epoch": (Plan(3, max_epochs=3, val_batches=5), []),
}

# The batches of the whole run: where it ends says which limit stopped it.
LIMITS = {
    "epochs": (Plan(2, max_epochs=2), [(0, 1), (0, 2), (1, 1), (1, 2)]),
    "steps": (Plan(2, max_steps=3), [(0, 1), (0, 2), (1, 1)]),
    "whichever comes first: epochs": (Plan(2, max_epochs=1, max_steps=3), [(0, 1), (0, 2)]),
    "whichever comes first: steps": (Plan(2, max_epochs=5, max_steps=1), [(0, 1)]),
    "steps are updates": (
        Plan(4, Schedule(3), max_steps=3),
        [(0, 1), (0, 2), (0, 3), (0, 4), (1, 1), (1, 2), (1, 3)],
    ),
    "no epochs": (Plan(2, max_epochs=0), []),
    "no steps": (Plan(2, max_steps=0), []),
}


def rows(table):
    return pytest.mark.parametrize(("plan", "want"), table.values(), ids=table.keys())


@rows(WINDOWS)
def test_windows_close(plan, want):
    assert positions(plan, closed) == want


@rows(LOGS)
def test_logs_are_due(plan, want):
    assert positions(plan, due.log_due) == want


@rows(CHECKPOINTS)
def test_checkpoints_are_due(plan, want):
    assert positions(plan, due.checkpoint_due) == want


@rows(VALIDATIONS)
def test_validation_is_due(plan, want):
    assert positions(plan, validated) == want


def test_validation_is_not_due_before_the_first_batch():
    assert not due.validate_due(Plan(4, val_batches=2), Clock(epoch=1, batch=0))


@rows(LIMITS)
def test_a_run_ends(plan, want):
    assert positions(plan, lambda *_: True) == want


@pytest.mark.parametrize(
    ("min_epochs", "min_steps", "clock", "may"),
    [
        (0, 0, Clock(), True),
        (2, 0, Clock(epoch=1, batch=9, update=99), False),
        (2, 0, Clock(epoch=2), True),
        (0, 5, Clock(epoch=9, update=4), False),
        (0, 5, Clock(update=5), True),
        (2, 5, Clock(epoch=2, update=4), False),
        (2, 5, Clock(epoch=1, update=5), False),
        (2, 5, Clock(epoch=2, update=5), True),
    ],
)
def test_a_stop_waits_for_both_minima(min_epochs, min_steps, clock, may):
    assert due.may_stop(Plan(3, min_epochs=min_epochs, min_steps=min_steps), clock) is may


def test_a_log_that_a_dispatch_ran_past_is_still_due():
    plan = Plan(100, log_updates=10, checkpoint_updates=(7,))
    assert due.log_due(plan, Clock(update=12), before=8)
    assert not due.log_due(plan, Clock(update=19), before=10)
    assert due.checkpoint_due(plan, Clock(update=15), before=13)
    assert not due.checkpoint_due(plan, Clock(update=13), before=7)


def test_a_loader_without_a_length():
    """It has no last batch that the plan could know; validation falls due when the loader has ended."""
    plan = Plan(None, Schedule(3), val_epochs=2)
    assert [due.closes(plan, 0, b) for b in range(7)] == [False, False, True, False, False, True, False]
    assert not due.epoch_over(plan, Clock(batch=10**6))
    assert [due.validate_at_end(plan, Clock(epoch=e)) for e in range(4)] == [False, True, False, True]
    assert not due.validate_at_end(plan._replace(val_batches=5), Clock(epoch=1))
    assert due.validate_due(plan._replace(val_batches=5), Clock(epoch=1, batch=5))


EVENTS = {
    "a log": (Plan(1000), Clock(batch=10, update=10), 40),
    "a log, in windows": (Plan(1000, Schedule(4)), Clock(batch=10, update=2), 190),
    "the epoch's end": (Plan(20), Clock(batch=3, update=3), 17),
    "validation": (Plan(100, val_batches=8), Clock(batch=3, update=3), 5),
    "no validation in this epoch": (Plan(100, val_batches=8, val_epochs=2), Clock(batch=3, update=3), 47),
    "a checkpoint": (Plan(100, checkpoint_updates=(30, 7)), Clock(batch=8, update=8), 6),
    "the last step": (Plan(100, max_steps=12), Clock(batch=8, update=8), 4),
    "the least number of steps": (Plan(100, min_steps=11), Clock(batch=8, update=8), 3),
    "the least number of steps, in too early an epoch": (
        Plan(100, min_steps=11, min_epochs=1),
        Clock(batch=8, update=8),
        42,
    ),
    "the dispatch limit": (Plan(100, dispatch=6), Clock(batch=8, update=8), 6),
    "a loader without a length": (Plan(None, Schedule(2), log_updates=5), Clock(batch=3, update=1), 7),
    "two players": (Plan(100, players=(OWN(window=2), OWN(window=3)), log_updates=4), Clock(), 6),
    "two players, nothing to log": (
        Plan(9, players=(OWN(window=2), OWN(window=3)), log_updates=10**9),
        Clock(),
        9,
    ),
}


@pytest.mark.parametrize(("plan", "clock", "want"), EVENTS.values(), ids=EVENTS.keys())
def test_the_host_looks_next_at(plan, clock, want):
    assert due.batches_to_event(plan, clock) == want


def test_turns_name_who_plays_and_whose_window_closes():
    plan = Plan(4, players=(OWN(window=2, turn=(0, 2, 3)), OWN(turn=(2, 1, 3))))
    assert [due.actions(plan, 0, b) for b in range(4)] == [
        (Action(True, False), Action(False, False)),
        (Action(True, True), Action(False, False)),
        (Action(False, False), Action(True, True)),
        (Action(True, True), Action(False, False)),
    ]


def test_an_epoch_that_ends_before_its_length_is_validated_where_the_interval_is_the_whole_epoch():
    plan = Plan(9, val_batches=9)
    assert due.validate_at_end(plan, Clock(batch=4))
    assert not due.validate_at_end(plan, Clock(batch=9))  # after the last batch it was due anyway
    assert not due.validate_at_end(plan._replace(val_batches=3), Clock(batch=4))
    assert not due.validate_at_end(plan._replace(val_epochs=2), Clock(batch=4))
