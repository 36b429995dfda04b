"""The loss scale as a value, on every backend: it grows, backs off, keeps its bounds; a bad update changes nothing."""

import numpy as np
import pytest
from hypothesis import strategies as st

from functrain.kernel import Clip, LossScale, Rule, ScaleRule, next_scale, step
from tests.kernel.backends import KINDS, array, law, on_every_backend, params
from tests.oracle import SGD, AdamW, Part, bits, data, inner, mlp
from tests.oracle.trees import assert_close

ZERO = {"p": np.zeros(2)}
GOOD = {"p": np.array([1.0, -2.0])}
BAD = [{"p": np.array([1.0, bad])} for bad in (np.inf, -np.inf, np.nan)]
ADAM = AdamW(0.1)


def begun(kind, rules, start=ZERO, optimizer=ADAM):
    b = kind.backend(Part(inner, optimizer))
    return b, kind.init(b, start, rules)


def moved(kind, state):
    """What an optimizer changes, in bits: all but the accumulator, whose gradients may be anything when it is empty."""
    emptied = tuple(p._replace(acc=p.acc._replace(grads={})) for p in state.players)
    return bits([array(leaf) for leaf in kind.leaves(state._replace(players=emptied))])


@law(
    st.lists(st.booleans(), max_size=40),
    st.integers(1, 5),
    st.integers(-3, 3),
    st.sampled_from([1.0, 2.0, 4.0]),
    st.sampled_from([0.25, 0.5, 1.0]),
)
def test_growth_and_backoff(kind, finites, interval, exponent, growth, backoff):
    """Against the rule told step by step: count the good ones in a row, grow at `interval`, begin again."""
    rule = ScaleRule(2.0**exponent, growth, backoff, interval, minimum=2.0**-5, maximum=2.0**5)
    backend = kind.backend(Part(inner, ADAM))
    scale, value, row = LossScale(rule.init), rule.init, 0
    for finite in finites:
        scale = next_scale(backend, rule, scale, finite)
        if not finite:
            value, row = max(value * backoff, rule.minimum), 0
        elif row + 1 == interval:
            value, row = min(value * growth, rule.maximum), 0
        else:
            row += 1
        assert (float(scale.value), int(scale.good)) == (value, row)


@on_every_backend
def test_the_state_carries_the_scale_from_update_to_update(kind):
    rules, seen = (Rule(scale=ScaleRule(init=8.0, interval=2)),), []
    b, state = begun(kind, rules)
    for batch in (GOOD, GOOD, GOOD, BAD[0], GOOD, GOOD):
        state, _ = step(b, rules, state, [batch])
        seen.append((state.players[0].scale, state.clock.skipped))
    assert seen == [
        (LossScale(8.0, 1), 0),
        (LossScale(16.0, 0), 0),
        (LossScale(16.0, 1), 0),
        (LossScale(8.0, 0), 1),
        (LossScale(8.0, 1), 1),
        (LossScale(16.0, 0), 1),
    ]


@on_every_backend
@pytest.mark.parametrize("clip", [Clip(), Clip(norm=1.0), Clip(value=1.0), Clip(norm=1.0, p=float("inf"))])
@pytest.mark.parametrize("bad", BAD, ids=["inf", "-inf", "nan"])
@pytest.mark.parametrize("optimizer", [SGD(0.1, momentum=0.9), AdamW(0.1)])
@pytest.mark.parametrize("rule", [Rule(scale=ScaleRule(init=4.0)), Rule(skip_nonfinite=True)], ids=["scale", "skip"])
def test_a_bad_window_changes_neither_parameters_nor_optimizer(kind, clip, bad, optimizer, rule):
    """To the bit, wherever in the window the bad one is; the clock counts it, and the window is closed."""
    rules = (rule._replace(clip=clip),)
    for window in ([bad], [GOOD, bad], [bad, GOOD]):
        b, state = begun(kind, rules, optimizer=optimizer)
        state, _ = step(b, rules, state, [GOOD])
        before = moved(kind, state)
        state, (report,) = step(b, rules, state, window)
        assert moved(kind, state) == before
        assert not report.finite
        assert (state.clock.update, state.clock.skipped, state.players[0].updates) == (2, 1, 2)
        assert state.players[0].acc.count == 0


@on_every_backend
def test_a_run_with_a_bad_window_goes_on_as_the_run_without_it(kind):
    rules = (Rule(Clip(norm=1.0), ScaleRule(init=4.0)),)
    (b, with_it), (other, without) = begun(kind, rules), begun(kind, rules)
    for batch in (GOOD, BAD[2], GOOD, BAD[0], GOOD):
        with_it, _ = step(b, rules, with_it, [batch])
        if batch is GOOD:
            without, _ = step(other, rules, without, [batch])
    assert_close(params(with_it), params(without), rtol=1e-13)
    assert with_it.clock.skipped == 2


@law(st.integers(0, 2**32 - 1), st.integers(-20, 60))
def test_the_scale_does_not_show_in_the_result(kind, seed, exponent):
    """A power of two is exact: the same bits at every scale."""
    rng = np.random.default_rng(seed)
    start, batch = data.mlp_params(rng), data.classes(rng, 4)
    b = kind.backend(Part(mlp(), AdamW(0.1)))
    results = []
    for scale in (1.0, 2.0**exponent):
        rules = (Rule(scale=ScaleRule(init=scale)),)
        state, (report,) = step(b, rules, kind.init(b, start, rules), [batch.part(0, 1), batch.part(1, 4)])
        results.append((bits(params(state)), float(report.loss)))
    assert results[0] == results[1]


def test_a_scale_too_large_for_the_type_finds_one_that_fits():
    """float32 ends at 2^128: gradients of 2^80 overflow at the scales 2^60 and 2^50, and pass at 2^40."""
    huge = {"p": np.full(2, 2.0**80, np.float32)}
    rules, finite = (Rule(Clip(norm=1.0), ScaleRule(init=2.0**60, backoff=2.0**-10)),), []
    b, state = begun(KINDS[0], rules, {"p": np.zeros(2, np.float32)})
    for _ in range(4):
        state, (report,) = step(b, rules, state, [huge])
        finite.append(bool(report.finite))
    assert finite == [False, False, True, True]
    assert state.players[0].scale == LossScale(2.0**40, 2)
    np.testing.assert_allclose(float(report.norm), 2.0**80.5, rtol=1e-6)


@pytest.mark.parametrize(
    "bad",
    [
        {"growth": 0.5},
        {"backoff": 0.0},
        {"backoff": 1.5},
        {"interval": 0},
        {"init": 0.0},
        {"init": float("nan")},
    ],
)
def test_a_rule_that_cannot_work_is_an_error(bad):
    with pytest.raises(ValueError, match=r"ScaleRule\(.*must be"):
        ScaleRule(**bad)
