"""SimpleProfiler by itself: what it measures, and the table that tells it."""

from __future__ import annotations

import copy
import pickle
import re
import time

import pytest

from functrain.profilers import PassThroughProfiler, Profiler, SimpleProfiler


def table(text: str) -> dict[str, list[str]]:
    """The cells of a report by action."""
    lines = [line for line in text.splitlines() if "  " in line]
    return {cells[0]: cells[1:] for cells in (re.split(r"\s{2,}", line) for line in lines)}


def test_durations_are_those_of_the_clock():
    profiler = SimpleProfiler()
    for seconds in (0.02, 0.05):
        with profiler.profile("sleep"):
            time.sleep(seconds)
    first, second = profiler.recorded_durations["sleep"]
    assert 0.02 <= first < 0.045
    assert 0.05 <= second < 0.1


def test_the_table_adds_up():
    profiler = SimpleProfiler()
    with profiler.profile("outer"):
        for _ in range(3):
            with profiler.profile("inner"):
                time.sleep(0.002)
    cells = table(profiler.summary())
    assert list(cells) == ["Action", "Total", "outer", "inner"]
    assert cells["Action"] == ["Mean (s)", "Calls", "Total (s)", "Share"]
    assert cells["Total"] == ["4", cells["outer"][2], "100.0 %"]
    assert cells["outer"][3] == "100.0 %"
    mean, calls, total, share = cells["inner"]
    assert calls == "3"
    assert float(total) == pytest.approx(sum(profiler.recorded_durations["inner"]), abs=1e-6)
    assert float(mean) == pytest.approx(float(total) / 3, abs=1e-6)
    assert float(share.removesuffix(" %")) == pytest.approx(100 * float(total) / float(cells["outer"][2]), abs=0.1)


def test_a_table_that_is_not_extended():
    profiler = SimpleProfiler(extended=False)
    with profiler.profile("one"):
        pass
    cells = table(profiler.summary())
    assert cells["Action"] == ["Mean (s)", "Total (s)"]
    assert cells["one"][0] == cells["one"][1]


def test_lines_of_a_table_are_equally_long():
    profiler = SimpleProfiler()
    for name in ("a", "a much longer name of an action", "b"):
        with profiler.profile(name):
            pass
    assert len({len(line) for line in profiler.summary().splitlines()[1:]}) == 1


def test_nothing_measured_is_nothing_told(capsys):
    profiler = SimpleProfiler()
    profiler.describe()
    assert profiler.summary() == ""
    assert capsys.readouterr().out == ""


def test_what_was_not_started_cannot_be_stopped_nor_what_is_started_be_started():
    profiler = SimpleProfiler()
    with pytest.raises(ValueError, match=r"SimpleProfiler.stop\('a'\): this action was never started"):
        profiler.stop("a")
    profiler.start("a")
    with pytest.raises(ValueError, match=r"SimpleProfiler.start\('a'\): this action is under way already"):
        profiler.start("a")
    profiler.stop("a")
    assert len(profiler.recorded_durations["a"]) == 1


def test_an_action_within_one_of_its_name_leaves_the_outer_one_under_way():
    profiler = SimpleProfiler()
    with profiler.profile("a"):
        with pytest.raises(ValueError, match="already"), profiler.profile("a"):
            pass
        assert list(profiler.current_actions) == ["a"]
    assert profiler.current_actions == {}


def test_an_action_ends_where_an_exception_does():
    profiler = SimpleProfiler()
    with pytest.raises(ArithmeticError), profiler.profile("a"):
        raise ArithmeticError
    assert len(profiler.recorded_durations["a"]) == 1
    assert profiler.current_actions == {}


def test_an_iterable():
    profiler = SimpleProfiler()
    assert list(profiler.profile_iterable(range(3), "next")) == [0, 1, 2]
    assert len(profiler.recorded_durations["next"]) == 4  # the last finds the end
    for _ in profiler.profile_iterable(range(3), "broken off"):
        break
    assert len(profiler.recorded_durations["broken off"]) == 1
    assert profiler.current_actions == {}


def test_the_report_is_added_to_a_file(tmp_path):
    profiler = SimpleProfiler(dirpath=tmp_path / "new", filename="times")
    for number in (1, 2):
        profiler.setup(stage="fit", log_dir="elsewhere")
        with profiler.profile(f"run {number}"):
            pass
        profiler.describe()
        profiler.teardown(stage="fit")
    text = (tmp_path / "new" / "fit-times.txt").read_text()
    assert text.count("FIT Profiler Report") == 2
    assert text.index("run 1") < text.index("run 2")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("given", "stage", "rank", "named"),
    [
        ({"filename": "x"}, "fit", None, "logs/fit-x.txt"),
        ({"filename": "x"}, "test", 2, "logs/test-x-2.txt"),
        ({"filename": "a b/c"}, None, None, "logs/a_b_c.txt"),
        ({"dirpath": "there"}, "fit", 0, "there/fit-profile-0.txt"),
    ],
)
def test_the_name_of_the_file(given, stage, rank, named, tmp_path):
    profiler = SimpleProfiler(**given)
    profiler.setup(stage=stage, local_rank=rank, log_dir=str(tmp_path / "logs"))
    with profiler.profile("a"):
        pass
    profiler.describe()
    assert (tmp_path / named).exists()


def test_of_several_processes_the_first_alone_prints(capsys):
    for rank in (0, 1):
        profiler = SimpleProfiler()
        profiler.setup("fit", rank, None)
        with profiler.profile("a"):
            pass
        profiler.describe()
        assert profiler.local_rank == rank
        assert ("FIT Profiler Report" in capsys.readouterr().out) == (rank == 0)


def test_a_report_is_of_one_run_and_of_what_came_before_the_first():
    profiler = SimpleProfiler()
    with profiler.profile("before"):
        pass
    profiler.setup("fit")
    with profiler.profile("first"):
        pass
    profiler.teardown("fit")
    assert set(table(profiler.summary())) == {"Action", "Total", "before", "first"}
    profiler.setup("fit")
    with profiler.profile("second"):
        pass
    assert set(table(profiler.summary())) == {"Action", "Total", "second"}


def test_a_run_forgets_what_the_one_before_left_under_way():
    profiler = SimpleProfiler()
    profiler.setup("fit")
    profiler.start("left")
    profiler.teardown("fit")
    profiler.setup("fit")
    with profiler.profile("left"):
        pass
    assert len(profiler.recorded_durations["left"]) == 1


@pytest.mark.parametrize("through", [copy.deepcopy, lambda profiler: pickle.loads(pickle.dumps(profiler))])
def test_copies(through):
    profiler = SimpleProfiler(filename="x")
    with profiler.profile("a"):
        profiler.start("under way")
        made = through(profiler)
    assert made.current_actions == {}
    assert made.filename == "x"
    made.start("a")
    made.stop("a")
    assert (len(made.recorded_durations["a"]), len(profiler.recorded_durations["a"])) == (1, 1)


def test_one_that_measures_nothing():
    profiler = PassThroughProfiler()
    with profiler.profile("a"):
        profiler.stop("never started")
    profiler.describe()
    assert list(profiler.profile_iterable("ab", "x")) == ["a", "b"]
    assert profiler.summary() == ""


def test_ones_own_needs_start_and_stop():
    class Half(Profiler):
        def start(self, action_name):
            pass

    with pytest.raises(TypeError, match="stop"):
        Half()  # type: ignore[abstract]
