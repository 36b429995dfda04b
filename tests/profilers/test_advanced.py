"""AdvancedProfiler by itself: the functions of each action, those of inner ones apart."""

from __future__ import annotations

import copy
import pickle
import pstats

import pytest

from functrain.profilers import AdvancedProfiler
from functrain.trainer.errors import ConfigurationError


def inner_work() -> int:
    return sum(range(10))


def outer_work() -> int:
    return sum(range(10))


def functions(profiler: AdvancedProfiler, action: str) -> dict[str, int]:
    """The calls of every function of an action."""
    stats = pstats.Stats(profiler.profiled_actions[action])
    return {name: calls for (_, _, name), (_, calls, *_) in stats.stats.items()}  # type: ignore[attr-defined]


def measured(**given) -> AdvancedProfiler:
    profiler = AdvancedProfiler(**given)
    with profiler.profile("outer"):
        outer_work()
        with profiler.profile("inner"):
            inner_work()
        outer_work()
    return profiler


def test_functions_are_told_with_the_action_that_called_them():
    profiler = measured()
    assert functions(profiler, "outer")["outer_work"] == 2
    assert "inner_work" not in functions(profiler, "outer")
    assert functions(profiler, "inner")["inner_work"] == 1
    assert "outer_work" not in functions(profiler, "inner")


def test_an_action_within_one_of_its_own_name():
    profiler = AdvancedProfiler()
    with profiler.profile("a"):
        outer_work()
        with profiler.profile("a"):
            inner_work()
        outer_work()
    assert functions(profiler, "a")["outer_work"] == 2
    assert functions(profiler, "a")["inner_work"] == 1


def test_the_report():
    text = measured().summary()
    assert text.startswith("Profiler Report\n")
    outer = text.index("Profile stats for: outer")
    assert outer < text.index("(outer_work)") < text.index("Profile stats for: inner") < text.index("(inner_work)")


def test_to_look_at_the_report_within_an_action_ends_no_measuring():
    profiler = AdvancedProfiler()
    with profiler.profile("a"):
        outer_work()
        assert "(outer_work)" in profiler.summary()
        inner_work()
    assert functions(profiler, "a")["inner_work"] == 1


def test_how_many_functions_are_told():
    lines = len(measured(line_count_restriction=1).summary().splitlines())
    assert lines < len(measured().summary().splitlines())
    assert "(inner_work)" not in measured(line_count_restriction=0).summary()


@pytest.mark.parametrize("value", [1.5, -1, -0.5, "3", True, None])
def test_impossible_numbers_of_functions(value):
    with pytest.raises(ConfigurationError, match=r"AdvancedProfiler\(line_count_restriction=.*an int >= 0"):
        AdvancedProfiler(line_count_restriction=value)


def test_statistics_are_dumped(tmp_path):
    profiler = measured(dirpath=tmp_path, filename="x", dump_stats=True)
    profiler.setup("fit")
    with profiler.profile("Net.on/odd"):
        inner_work()
    profiler.describe()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "fit-x-Net.on_odd.prof", "fit-x-inner.prof", "fit-x-outer.prof", "fit-x.txt",
    ]  # fmt: skip
    read = pstats.Stats(str(tmp_path / "fit-x-Net.on_odd.prof"))
    assert "inner_work" in {name for _, _, name in read.stats}  # type: ignore[attr-defined]


def test_what_was_not_started_last_cannot_be_stopped():
    profiler = AdvancedProfiler()
    with pytest.raises(ValueError, match=r"stop\('a'\): this action was never started; none is under way"):
        profiler.stop("a")
    with profiler.profile("a"), pytest.raises(ValueError, match=r"stop\('b'\).*'a' is under way"):
        profiler.stop("b")


def test_runs_one_after_another():
    profiler = measured()
    profiler.teardown("fit")
    profiler.setup("fit")
    assert profiler.summary() == ""
    profiler.start("left")
    profiler.teardown("fit")
    profiler.setup("fit")
    with profiler.profile("left"):
        inner_work()
    assert functions(profiler, "left")["inner_work"] == 1


@pytest.mark.parametrize("through", [copy.deepcopy, lambda profiler: pickle.loads(pickle.dumps(profiler))])
def test_a_copy_begins_anew(through):
    profiler = measured(line_count_restriction=3)
    made = through(profiler)
    assert made.summary() == ""
    assert made.line_count_restriction == 3
    with made.profile("b"):
        inner_work()
    assert list(made.profiled_actions) == ["b"]
    assert list(profiler.profiled_actions) == ["outer", "inner"]
