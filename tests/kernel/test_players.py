"""Several players of one step, on every backend: each with its own parameters, window, frequency, clipping, scale."""

import numpy as np
from hypothesis import strategies as st

from functrain.kernel import Clip, LossScale, Plan, PlayerPlan, Rule, ScaleRule, Schedule, micro_step, step
from functrain.kernel.plan import actions, closes
from tests.kernel.backends import bits_of, law, on_every_backend, params
from tests.oracle import SGD, NumpyBackend, Part, bits, game
from tests.oracle.loop import next_epoch, run
from tests.oracle.trees import assert_close

LR = 0.1
BOTH = (Rule(), Rule())
START = {"x": np.array([1.0, -2.0, 0.5]), "y": np.array([0.3, 0.7])}


PARTS = Part(game.first, SGD(LR), ("x",)), Part(game.second, SGD(LR), ("y",))


def begun(kind, rules=BOTH, start=START):
    b = kind.backend(*PARTS)
    return b, kind.init(b, start, rules)


def matrices(seed, n):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(3, 2)) for _ in range(n)]


@on_every_backend
def test_the_second_meets_what_the_first_has_moved(kind):
    (a,) = matrices(0, 1)
    b, state = begun(kind)
    state, (first, second) = step(b, BOTH, state, [a])
    x, y = START["x"], START["y"]
    moved = x - LR * a @ y
    assert_close(params(state), {"x": moved, "y": y + LR * a.T @ moved})
    np.testing.assert_allclose([float(first.loss), float(second.loss)], [x @ a @ y, -(moved @ a @ y)])
    assert (state.clock.batch, state.clock.update) == (1, 1)
    assert [p.updates for p in state.players] == [1, 1]


@on_every_backend
def test_a_player_moves_nothing_but_its_own(kind):
    plan = Plan(4, players=(PlayerPlan(turn=(0, 1, 2)), PlayerPlan(turn=(1, 1, 2))))
    b, state = begun(kind)
    for at, batch in enumerate(matrices(1, 4)):
        before = bits(params(state))
        state, reports = micro_step(b, BOTH, state, batch, actions(plan, 0, at), closes(plan, 0, at))
        now = bits(params(state))
        assert [now[name] != before[name] for name in ("x", "y")] == [at % 2 == 0, at % 2 == 1]
        assert [report is None for report in reports] == [at % 2 == 1, at % 2 == 0]


def by_hand(windows, rounds, epochs):
    """Lists of gradients instead of sums, and a count of what is open instead of arithmetic on positions."""
    values = {name: p.copy() for name, p in START.items()}
    losses = (game.first, game.second)
    open_grads, moves, updates = ([], []), [0, 0], 0
    state = NumpyBackend(*PARTS).init(START, BOTH)
    for batches in epochs:
        for at, batch in enumerate(batches):
            any_closed = False
            for i, name in enumerate(("x", "y")):
                first, length, cycle = rounds[i] or (0, 1, 1)
                if at % cycle in range(first, first + length):
                    micro = losses[i](state._replace(params=values), batch)
                    open_grads[i].append(micro.grads[name])
                if len(open_grads[i]) == windows[i] or (open_grads[i] and at + 1 == len(batches)):
                    values[name] = values[name] - LR * sum(open_grads[i]) / len(open_grads[i])
                    open_grads[i].clear()
                    moves[i] += 1
                    any_closed = True
            updates += any_closed
    return values, moves, updates


@st.composite
def turn_of(draw):
    cycle = draw(st.integers(1, 5))
    first = draw(st.integers(0, cycle - 1))
    return draw(st.none() | st.just((first, draw(st.integers(1, cycle - first)), cycle)))


@law(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(turn_of(), turn_of()),
    st.integers(1, 12),
    st.integers(1, 3),
)
def test_own_windows_and_frequencies(kind, seed, windows, rounds, length, epochs):
    """A player's windows hold the batches that it played; at the epoch's end an open one steps as it is."""
    batches = matrices(seed, length)
    plan = Plan(length, players=tuple(PlayerPlan(w, t) for w, t in zip(windows, rounds, strict=True)))
    b, state = begun(kind)
    for _ in range(epochs):
        state = next_epoch(run(b, BOTH, plan, state, batches)[0])
    want, moves, updates = by_hand(windows, rounds, [batches] * epochs)
    assert_close(params(state), want, rtol=1e-9, atol=1e-10)
    assert [p.updates for p in state.players] == moves
    assert state.clock.update == updates
    assert all(p.acc.count == 0 for p in state.players)


@on_every_backend
def test_a_player_without_a_window_follows_the_schedule(kind):
    batches = matrices(2, 6)
    follows = Plan(6, windows=Schedule(3), players=(PlayerPlan(), PlayerPlan(window=2)))
    spelled = Plan(6, players=(PlayerPlan(window=3), PlayerPlan(window=2)))
    got, want = (run(b, BOTH, plan, state, batches)[0] for plan in (follows, spelled) for b, state in [begun(kind)])
    assert bits_of(kind, got) == bits_of(kind, want)
    assert [p.updates for p in got.players] == [2, 3]
    # Windows close after batches 2, 3, 4 and 6; the last one is both players' and counts once.
    assert got.clock.update == 4


@on_every_backend
def test_every_player_has_its_own_clipping_and_scale(kind):
    rules = (Rule(Clip(norm=0.5)), Rule(Clip(value=0.1), ScaleRule(init=4.0, interval=1)))
    (a,) = matrices(3, 1)
    b, state = begun(kind, rules)
    state, (first, second) = step(b, rules, state, [a])
    g = a @ START["y"]
    moved = START["x"] - LR * g * min(1.0, 0.5 / (np.linalg.norm(g) + 1e-6))
    want = START["y"] + LR * np.clip(a.T @ moved, -0.1, 0.1)
    assert_close(params(state), {"x": moved, "y": want})
    assert [p.scale for p in state.players] == [None, LossScale(8.0, 0)]
    np.testing.assert_allclose(float(first.norm), np.linalg.norm(g), rtol=1e-12)
    assert second.norm is None


@on_every_backend
def test_a_bad_gradient_of_one_player_does_not_stop_the_other(kind):
    rules = (Rule(skip_nonfinite=True), Rule(scale=ScaleRule(init=4.0)))
    (a,) = matrices(4, 1)
    bad = {**START, "y": np.array([np.inf, 1.0])}
    b, state = begun(kind, rules, bad)
    state, (first, second) = step(b, rules, state, [a])
    assert (bool(first.finite), bool(second.finite)) == (False, True)
    assert bits(params(state)["x"]) == bits(START["x"])
    assert state.players[1].scale == LossScale(4.0, 1)
    np.testing.assert_allclose(params(state)["y"], bad["y"] + LR * a.T @ START["x"])
    assert state.clock.skipped == 1


@on_every_backend
def test_both_players_skipped_count_twice_and_the_window_once(kind):
    rules = (Rule(skip_nonfinite=True),) * 2
    b, state = begun(kind, rules)
    state, _ = step(b, rules, state, [np.full((3, 2), np.nan)])
    assert bits(params(state)) == bits(START)
    assert (state.clock.update, state.clock.skipped) == (1, 2)


@law(st.integers(0, 2**32 - 1), st.integers(2, 8), st.integers(0, 7))
def test_several_players_may_be_put_down_at_any_batch_and_taken_up_again(kind, seed, length, stop):
    """With windows of their own open: each accumulator is part of the state."""
    batches = matrices(seed, length)
    plan = Plan(length, players=(PlayerPlan(2), PlayerPlan(3, (1, 2, 3))))
    b, through = begun(kind)
    through, _ = run(b, BOTH, plan, through, batches)
    b, state = begun(kind)
    state, _ = run(b, BOTH, plan, state, batches[:stop])
    resumed, _ = run(b, BOTH, plan, b.copy(state), batches[stop:])
    assert bits_of(kind, resumed) == bits_of(kind, through)
