"""Laws of the plan, for any plan: arithmetic on positions agrees with counting, and no event is run past."""

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from functrain.kernel import Clock, Plan, PlayerPlan, Rule, Schedule
from functrain.kernel import plan as due
from tests.oracle import SGD, NumpyBackend, Part, inner
from tests.oracle.loop import next_epoch, run


@st.composite
def player_plans(draw):
    cycle = draw(st.integers(1, 4))
    first = draw(st.integers(0, cycle - 1))
    turn = draw(st.none() | st.just((first, draw(st.integers(1, cycle - first)), cycle)))
    return PlayerPlan(draw(st.none() | st.integers(1, 4)), turn)


maybe = st.none() | st.integers(1, 12)
plans = st.builds(
    Plan,
    batches=st.none() | st.integers(1, 14),
    windows=st.one_of(st.integers(1, 5), st.just({1: 3, 2: 2})).map(Schedule),
    players=st.just((PlayerPlan(),)) | st.lists(player_plans(), min_size=1, max_size=3).map(tuple),
    max_epochs=st.none() | st.integers(1, 4),
    max_steps=st.none() | st.integers(1, 30),
    min_epochs=st.integers(0, 3),
    min_steps=st.integers(0, 20),
    val_batches=maybe,
    val_epochs=st.none() | st.integers(1, 3),
    val_before=st.integers(0, 30),
    log_updates=st.integers(1, 9),
    observe_updates=st.lists(st.integers(1, 9), max_size=2).map(tuple),
    checkpoint_updates=st.lists(st.integers(1, 9), max_size=2).map(tuple),
    dispatch=st.integers(1, 20) | st.just(due.NO_EVENT),
)


def one_by_one(plan, clock, batches):
    """The definition of `after`: a window closes where `closes` says so."""
    for _ in range(batches):
        update = clock.update + due.closes(plan, clock.epoch, clock.batch)
        clock = clock._replace(batch=clock.batch + 1, update=update)
    return clock


def reached(plan, epochs, batches):
    """The clock after so many epochs (of 9 batches, where they have no length) and batches."""
    clock = Clock()
    for _ in range(epochs):
        clock = one_by_one(plan, clock, plan.batches or 9).next_epoch()
    return one_by_one(plan, clock, min(batches, plan.batches or batches))


@given(plans, st.integers(0, 3), st.integers(0, 14), st.integers(0, 14))
def test_after_is_that_many_single_batches(plan, epochs, start, batches):
    clock = reached(plan, epochs, start)
    if plan.batches is not None:
        batches = min(batches, plan.batches - clock.batch)
    assert due.after(plan, clock, batches) == one_by_one(plan, clock, batches)


@given(plans, st.integers(0, 3), st.integers(0, 14), st.integers(0, 7), st.integers(0, 7))
def test_after_adds_up(plan, epochs, start, m, n):
    clock = reached(plan, epochs, start)
    assume(plan.batches is None or clock.batch + m + n <= plan.batches)
    assert due.after(plan, due.after(plan, clock, m), n) == due.after(plan, clock, m + n)


@given(st.integers(1, 9), st.integers(0, 40), st.integers(0, 20), st.integers(0, 20))
def test_an_interval_is_passed_where_a_multiple_of_it_is_reached(every, start, m, n):
    now = start + m
    assert due.passed(every, start, now) == any(k % every == 0 for k in range(start + 1, now + 1))
    assert due.passed(every, start, now + n) == (due.passed(every, start, now) or due.passed(every, now, now + n))


@given(st.integers(1, 9), st.integers(1, 9), st.lists(st.integers(0, 5), max_size=30))
def test_no_flush_is_later_than_the_first_log_after_its_interval(log, flush, updates):
    """However many updates fall into one batch; where one does, nothing is flushed but then."""
    plan, clock, waits = Plan(None, log_updates=log, flush_updates=flush), Clock(), False
    for n in updates:
        before, clock = clock.update, clock._replace(update=clock.update + n)
        waits = waits or due.passed(flush, before, clock.update)
        if due.log_due(plan, clock, before):
            flushed = due.flush_due(plan, clock, before)
            assert flushed or not waits
            assert flushed == waits or max(updates) > 1
            waits = False


def what_is_due(plan, clock, before):
    """Everything that the host would have to see to after a batch, with `before` updates at its start."""
    questions = {
        "epoch over": due.epoch_over(plan, clock),
        "limit": due.at_limit(plan, clock),
        "log": not plan.passes_logs and due.log_due(plan, clock, before),
        "observe": not plan.passes_logs and due.observe_due(plan, clock, before),
        "validate": due.validate_due(plan, clock),
        "checkpoint": due.checkpoint_due(plan, clock, before),
    }
    return {name for name, answer in questions.items() if answer}


@given(plans, st.integers(0, 3), st.integers(0, 13))
def test_nothing_is_due_before_the_next_event_and_something_at_it(plan, epochs, batches):
    clock = reached(plan, epochs, batches)
    assume(not due.at_limit(plan, clock) and not due.epoch_over(plan, clock))
    ahead, may_stop = due.batches_to_event(plan, clock), due.may_stop(plan, clock)
    assert 1 <= ahead <= plan.dispatch
    for step in range(1, ahead + 1):
        before, clock = clock.update, one_by_one(plan, clock, 1)
        seen = what_is_due(plan, clock, before)
        if due.may_stop(plan, clock) != may_stop:
            seen.add("may stop")
        assert bool(seen) or step == plan.dispatch if step == ahead else not seen


@given(plans)
def test_a_run_in_dispatches_sees_what_a_run_batch_by_batch_sees(plan):
    """The same events at the same places, whatever the dispatch limit is."""
    plan = plan._replace(max_epochs=3, batches=plan.batches or 9)

    def walk(batches_at_once):
        clock, events = Clock(), []
        while not due.at_limit(plan, clock):
            while not due.epoch_over(plan, clock) and not due.at_limit(plan, clock):
                before = clock.update
                clock = due.after(plan, clock, batches_at_once(clock))
                events.append((clock, what_is_due(plan, clock, before)))
            clock = clock.next_epoch()
        return [(clock, seen) for clock, seen in events if seen]

    assert walk(lambda clock: due.batches_to_event(plan, clock)) == walk(lambda clock: 1)


@given(plans, st.integers(1, 3))
def test_the_clock_that_the_kernel_moves_is_the_clock_that_the_plan_foresees(plan, epochs):
    plan = plan._replace(batches=plan.batches or 9)
    backend = NumpyBackend(*[Part(inner, SGD(0.1))] * len(plan.players))
    rules = (Rule(),) * len(plan.players)
    state, clock = backend.init({"p": np.ones(1)}, rules), Clock()
    for _ in range(epochs):
        clock = due.after(plan, clock, plan.batches).next_epoch()
        state, _ = run(backend, rules, plan, state, [{"p": np.ones(1)}] * plan.batches)
        state = next_epoch(state)
    assert state.clock == clock


@given(plans, st.integers(0, 3))
def test_a_run_that_will_write_step_metrics_is_told_from_one_that_will_not(plan, epochs):
    """The forecast is what walking through the run batch by batch finds."""
    plan = plan._replace(max_epochs=4, batches=plan.batches or 9)
    clock = reached(plan, epochs, 0)
    foreseen, found = due.reaches_log(plan, clock), False
    while not due.at_limit(plan, clock):
        before, clock = clock.update, due.after(plan, clock, 1)
        found = found or due.log_due(plan, clock, before)
        clock = clock.next_epoch() if due.epoch_over(plan, clock) else clock
    assert foreseen == found


@given(st.integers(1, 20), st.lists(st.integers(1, 8), min_size=1, max_size=5), st.integers(1, 6))
def test_validations_counted_across_epochs_come_after_every_so_many_batches(every, epochs, dispatch):
    """However long the epochs are, and however the batches are dispatched."""
    found, seen = [], 0
    for epoch, batches in enumerate(epochs):
        plan = Plan(batches, val_batches=every, val_epochs=None, val_before=seen, dispatch=dispatch)
        clock = Clock(epoch)
        while not due.epoch_over(plan, clock):
            clock = due.after(plan, clock, due.batches_to_event(plan, clock))
            if due.validate_due(plan, clock):
                found.append(seen + clock.batch)
        assert not due.validate_at_end(plan, clock)
        seen += batches
    assert found == list(range(every, seen + 1, every))


@given(plans, st.integers(0, 3), st.integers(0, 14), st.integers(1, 14))
def test_the_parts_of_a_dispatch_end_where_something_is_noted_and_at_its_end(plan, epochs, start, batches):
    clock = reached(plan, epochs, start)
    assume(plan.batches is None or clock.batch < plan.batches)
    if plan.batches is not None:
        batches = min(batches, plan.batches - clock.batch)
    want = set()
    for n in range(1, batches + 1):
        before, clock_ = due.after(plan, clock, n - 1).update, due.after(plan, clock, n)
        if due.log_due(plan, clock_, before) or due.observe_due(plan, clock_, before):
            want.add(n)
    assert due.noted_places(plan, clock, batches) == sorted(want | {batches})


@given(plans, st.integers(0, 3), st.integers(0, 14), st.integers(1, 14))
def test_the_turns_of_many_batches_at_once_are_those_of_each(plan, epoch, start, count):
    if plan.batches is not None:
        count = min(count, max(plan.batches - start, 1))
    batches = np.arange(start, start + count)
    for player, turn in enumerate(due.actions_of(plan, epoch, batches)):
        plays, closes = (np.broadcast_to(each, count).tolist() for each in turn)
        assert list(zip(plays, closes, strict=True)) == [due.actions(plan, epoch, int(b))[player] for b in batches]
