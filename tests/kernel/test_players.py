"""Several players of one step: each with its own parameters, window, frequency, clipping and loss scale."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from functrain.kernel import Clip, LossScale, Plan, PlayerPlan, Rule, ScaleRule, Schedule, play, step
from functrain.kernel.plan import closes, turns
from tests.oracle import SGD, NumpyBackend, Part, bits, game
from tests.oracle.loop import next_epoch, run
from tests.oracle.trees import assert_close

LR = 0.1
BOTH = (Rule(), Rule())
START = {"x": np.array([1.0, -2.0, 0.5]), "y": np.array([0.3, 0.7])}


def backend():
    return NumpyBackend(Part(game.first, SGD(LR), ("x",)), Part(game.second, SGD(LR), ("y",)))


def matrices(seed, n):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(3, 2)) for _ in range(n)]


def test_the_second_meets_what_the_first_has_moved():
    (a,) = matrices(0, 1)
    state, (first, second) = step(backend(), BOTH, backend().init(START, BOTH), [a])
    x, y = START["x"], START["y"]
    moved = x - LR * a @ y
    assert_close(state.params, {"x": moved, "y": y + LR * a.T @ moved})
    np.testing.assert_allclose([first.loss, second.loss], [x @ a @ y, -(moved @ a @ y)])
    assert (state.clock.batch, state.clock.update) == (1, 1)
    assert [p.updates for p in state.players] == [1, 1]


def test_a_player_moves_nothing_but_its_own():
    b, plan = backend(), Plan(4, players=(PlayerPlan(turn=(0, 1, 2)), PlayerPlan(turn=(1, 1, 2))))
    state = b.init(START, BOTH)
    for at, batch in enumerate(matrices(1, 4)):
        before = bits(state.params)
        state, reports = play(b, BOTH, state, batch, turns(plan, 0, at), closes(plan, 0, at))
        now = bits(state.params)
        assert [now[name] != before[name] for name in ("x", "y")] == [at % 2 == 0, at % 2 == 1]
        assert [report is None for report in reports] == [at % 2 == 1, at % 2 == 0]


def by_hand(windows, rounds, epochs):
    """Lists of gradients instead of sums, and a count of what is open instead of arithmetic on positions."""
    params = {name: p.copy() for name, p in START.items()}
    losses = (game.first, game.second)
    open_grads, moves, updates = ([], []), [0, 0], 0
    state = backend().init(START, BOTH)
    for batches in epochs:
        for at, batch in enumerate(batches):
            any_closed = False
            for i, name in enumerate(("x", "y")):
                first, length, cycle = rounds[i] or (0, 1, 1)
                if at % cycle in range(first, first + length):
                    micro = losses[i](state._replace(params=params), batch)
                    open_grads[i].append(micro.grads[name])
                if len(open_grads[i]) == windows[i] or (open_grads[i] and at + 1 == len(batches)):
                    params[name] = params[name] - LR * sum(open_grads[i]) / len(open_grads[i])
                    open_grads[i].clear()
                    moves[i] += 1
                    any_closed = True
            updates += any_closed
    return params, moves, updates


@st.composite
def turn_of(draw):
    cycle = draw(st.integers(1, 5))
    first = draw(st.integers(0, cycle - 1))
    return draw(st.none() | st.just((first, draw(st.integers(1, cycle - first)), cycle)))


@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(turn_of(), turn_of()),
    st.integers(1, 12),
    st.integers(1, 3),
)
def test_own_windows_and_frequencies(seed, windows, rounds, length, epochs):
    """A player's windows hold the batches that it played; at the epoch's end an open one steps as it is."""
    b, batches = backend(), matrices(seed, length)
    plan = Plan(length, players=tuple(PlayerPlan(w, t) for w, t in zip(windows, rounds, strict=True)))
    state = b.init(START, BOTH)
    for _ in range(epochs):
        state = next_epoch(run(b, BOTH, plan, state, batches)[0])
    params, moves, updates = by_hand(windows, rounds, [batches] * epochs)
    assert_close(state.params, params, rtol=1e-9, atol=1e-10)
    assert [p.updates for p in state.players] == moves
    assert state.clock.update == updates
    assert all(p.acc.count == 0 for p in state.players)


def test_a_player_without_a_window_follows_the_schedule():
    b, batches = backend(), matrices(2, 6)
    follows = Plan(6, windows=Schedule(3), players=(PlayerPlan(), PlayerPlan(window=2)))
    spelled = Plan(6, players=(PlayerPlan(window=3), PlayerPlan(window=2)))
    got, _ = run(b, BOTH, follows, b.init(START, BOTH), batches)
    want, _ = run(b, BOTH, spelled, b.init(START, BOTH), batches)
    assert bits(got) == bits(want)
    assert [p.updates for p in got.players] == [2, 3]
    # Windows close after batches 2, 3, 4 and 6; the last one is both players' and counts once.
    assert got.clock.update == 4


def test_every_player_has_its_own_clipping_and_scale():
    b = backend()
    rules = (Rule(Clip(norm=0.5)), Rule(Clip(value=0.1), ScaleRule(init=4.0, interval=1)))
    (a,) = matrices(3, 1)
    state, (first, second) = step(b, rules, b.init(START, rules), [a])
    g = a @ START["y"]
    moved = START["x"] - LR * g * min(1.0, 0.5 / (np.linalg.norm(g) + 1e-6))
    want = START["y"] + LR * np.clip(a.T @ moved, -0.1, 0.1)
    assert_close(state.params, {"x": moved, "y": want})
    assert [p.scale for p in state.players] == [None, LossScale(8.0, 0)]
    assert (first.norm, second.norm) == (np.linalg.norm(g), None)


def test_a_bad_gradient_of_one_player_does_not_stop_the_other():
    b = backend()
    rules = (Rule(skip_nonfinite=True), Rule(scale=ScaleRule(init=4.0)))
    (a,) = matrices(4, 1)
    bad = {**START, "y": np.array([np.inf, 1.0])}
    state, (first, second) = step(b, rules, b.init(bad, rules), [a])
    assert (first.finite, second.finite) == (False, True)
    assert bits(state.params["x"]) == bits(START["x"])
    assert state.players[1].scale == LossScale(4.0, 1)
    np.testing.assert_allclose(state.params["y"], bad["y"] + LR * a.T @ START["x"])
    assert state.clock.skipped == 1


def test_both_players_skipped_count_twice_and_the_window_once():
    b, rules = backend(), (Rule(skip_nonfinite=True),) * 2
    state, _ = step(b, rules, b.init(START, rules), [np.full((3, 2), np.nan)])
    assert bits(state.params) == bits(START)
    assert (state.clock.update, state.clock.skipped) == (1, 2)
