"""What is said of two recorded runs that differ in exactly one place, and of files that are torn, odd or hostile."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functrain.compare import Recorded, RecordsError, compare, read_run
from functrain.compare.__main__ import main
from functrain.compare.picture import curves
from functrain.compare.records import PARTS, Row

NAMES = {"parameters": ["net.weight", "net.bias"], "variables": ["norm.mean"], "optimizer": ["0.exp_avg.net.weight"]}


def row(update: int) -> dict[str, Any]:
    digests = {part: [f"{update:04x}{i:04x}" for i in range(len(NAMES[part]))] for part in PARTS}
    random = {"numpy": f"{update:08x}", "python": "00000001"}
    return {
        "update": update, "epoch": 0, "batch": update, "data": f"{update:08x}", "random": random, **digests,
        "metrics": {"loss": 1.0 / (1 + update), "acc": 0.5},
    }  # fmt: skip


def lines(every: int = 1, last: int = 6, run: str = "a" * 32) -> list[dict[str, Any]]:
    header = {"format": 1, "run": run, "every": every, "names": NAMES}
    return [header, *(row(update) for update in range(0, last + 1, every))]


def written(folder: Path, records: list[dict[str, Any]], manifest: dict[str, Any] | None = None) -> Path:
    folder.mkdir()
    (folder / "digests.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    if manifest is not None:
        (folder / "manifest.json").write_text(json.dumps({"run": records[0]["run"], **manifest}))
    return folder


def recorded(records: list[dict[str, Any]]) -> Recorded:
    rows = {}
    for r in records[1:]:
        parts = {part: dict(zip(NAMES[part], r[part], strict=True)) for part in PARTS}
        rows[r["update"]] = Row(r["update"], r["epoch"], r["batch"], r["data"], r["random"], parts, r["metrics"])
    return Recorded("a file", records[0]["run"], records[0]["every"], rows)


@given(st.integers(0, 6), st.sampled_from(PARTS), st.booleans(), st.data())
def test_one_array_that_differs_is_named_whichever_run_comes_first(
    update: int, part: str, swapped: bool, data: st.DataObject
):
    place = data.draw(st.integers(0, len(NAMES[part]) - 1))
    one, other = lines(), lines()
    for later in other[update + 1 :]:
        later[part][place] = "ffffffff"
    pair = (recorded(other), recorded(one)) if swapped else (recorded(one), recorded(other))
    found = compare(*pair).difference
    assert found is not None
    assert (found.update, found.kind) == (update, "arithmetic" if update else "start")
    assert found.equal_until == (update - 1 if update else None)
    assert found.first == f"{part} {NAMES[part][place]}"
    assert sum(map(len, found.arrays.values())) == 1


@given(st.integers(1, 6), st.integers(1, 6))
def test_what_differed_first_is_named(data: int, random: int):
    one, other = lines(), lines()
    arrays = max(data, random)
    for r in other[1:]:
        if r["update"] >= data:
            r["data"] = "ffffffff"
        if r["update"] >= random:
            r["random"]["numpy"] = "ffffffff"
        if r["update"] >= arrays:
            r["parameters"][0] = "ffffffff"
    found = compare(recorded(one), recorded(other))
    assert found.difference is not None
    assert found.difference.kind == ("data" if data <= random else "randomness")
    assert found.generators == ("numpy",)


def test_random_states_that_change_nothing_are_told_and_are_no_difference(tmp_path: Path, capsys: Any):
    other = lines()
    for r in other[1:]:
        r["random"]["python"] = "ffffffff"
    assert main([str(written(tmp_path / "a", lines())), str(written(tmp_path / "b", other))]) == 0
    assert "Only states of random generators differ: python." in capsys.readouterr().out


@given(st.integers(1, 4), st.integers(1, 4))
def test_rows_of_other_intervals_are_compared_where_both_have_one(a: int, b: int):
    found = compare(recorded(lines(a, 12)), recorded(lines(b, 12)))
    assert found.difference is None
    assert found.compared == tuple(sorted(set(range(0, 13, a)) & set(range(0, 13, b))))


def test_equal_runs(tmp_path: Path, capsys: Any):
    a, b = (written(tmp_path / name, lines(run=name * 32), {"seed": 1, "started": name}) for name in "ab")
    assert main([str(a), str(b / "digests.jsonl")]) == 0
    out = capsys.readouterr().out
    assert out.startswith("EQUAL to the bit, at all 7 rows")
    assert "The manifests say the same." in out


def test_a_difference_and_what_differs_in_the_manifests(tmp_path: Path, capsys: Any):
    other = lines(every=2)
    other[3]["parameters"][1] = "ffffffff"
    a = written(tmp_path / "a", lines(every=2), {"seed": 1, "versions": {"torch": "1", "numpy": "2"}, "flags": {}})
    b = written(tmp_path / "b", other, {"seed": 1, "versions": {"torch": "2", "numpy": "2"}, "flags": {"x": [1]}})
    assert main([str(a), str(b)]) == 1
    out = capsys.readouterr().out
    assert out.startswith("DIFFERENT from update 4 on: arithmetic differed first.")
    assert "equal at update 2, and parted on the way" in out
    assert "Parameters that differ: 1 of 2: net.bias." in out
    assert "  versions.torch: '1' | '2'" in out
    assert "  flags.x: '(not there)' | [1]" in out
    assert "numpy" not in out


def test_a_run_that_is_shorter_is_told(tmp_path: Path, capsys: Any):
    assert main([str(written(tmp_path / "a", lines(last=3))), str(written(tmp_path / "b", lines()))]) == 1
    assert "B goes on after update 3" in capsys.readouterr().out


def test_names_that_came_later_and_arrays_that_only_one_has(tmp_path: Path):
    one, other = lines(), lines()
    names = copy.deepcopy(NAMES)
    names["optimizer"].append("0.step")
    other.insert(4, {**other[0], "names": names})
    for r in other[5:]:
        r["optimizer"].append("00000000")
    found = compare(read_run(written(tmp_path / "a", one)), read_run(written(tmp_path / "b", other)))
    assert found.difference is not None
    assert (found.difference.update, found.difference.first) == (3, "optimizer 0.step")


def test_the_last_of_several_runs_in_a_file_is_taken(tmp_path: Path):
    found = read_run(written(tmp_path / "a", [*lines(last=6, run="b" * 32), *lines(last=2)]))
    assert (found.run, sorted(found.rows)) == ("a" * 32, [0, 1, 2])
    assert "several runs" in found.notes[0]


def test_a_torn_last_row_is_left_out_and_told(tmp_path: Path):
    folder = written(tmp_path / "a", lines())
    with open(folder / "digests.jsonl", "a") as file:
        file.write('{"update": 7, "par')
    found = read_run(folder)
    assert max(found.rows) == 6
    assert "torn" in found.notes[0]


def test_the_manifest_of_another_run_in_the_directory_is_not_taken(tmp_path: Path):
    folder = written(tmp_path / "a", lines())
    (folder / "manifest.json").write_text(json.dumps({"run": "other", "seed": 1}))
    (folder / "manifest-2.json").write_text(json.dumps({"run": "a" * 32, "seed": 2}))
    found = read_run(folder)
    assert [part.manifest["seed"] for part in found.parts] == [2]


HOSTILE: dict[str, Any] = {
    "": "no row", "[]\n": "no record", "{\n": "no JSON",
    '{"format": 9}\n': "format '9'", "[" * 100000 + "\n": "no JSON",
    '{"format": 1, "run": 3}\n': "run is '3'", '{"format": 1, "run": "x", "names": []}\n': "names no",
    '{"update": 1}\n': "before any header", "\x00\n": "no JSON",
    json.dumps({**lines()[0], "every": -1}) + "\n" + json.dumps(row(0)) + "\n": "every is '-1'",
    json.dumps(lines()[0]) + "\n" + json.dumps({**row(0), "parameters": ["x"]}) + "\n": "no digest of each",
    json.dumps(lines()[0]) + "\n" + json.dumps({**row(0), "update": True}) + "\n": "update is 'True'",
    json.dumps(lines()[0]) + "\n" + json.dumps({**row(0), "random": 1}) + "\n": "no random states",
    json.dumps(lines()[0]) + "\n" + json.dumps({**row(0), "update": 10**400}) + "\n": "update is '1000",
    json.dumps({**lines()[0], "names": {**NAMES, "parameters": ["a", "a"]}}) + "\n": "one of the parameters twice",
    "".join(json.dumps(r) + "\n" for r in (lines()[0], row(0), {**row(0), "data": "x"})): "two rows of update 0",
}  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_a_file_that_is_none_is_an_error_that_names_it(text: str, tmp_path: Path, capsys: Any):
    file = tmp_path / "digests.jsonl"
    file.write_text(text)
    with pytest.raises(RecordsError, match=r"digests\.jsonl") as error:
        read_run(file)
    assert HOSTILE[text] in str(error.value)
    assert main([str(file), str(file)]) == 2


def test_what_a_terminal_would_obey_is_escaped(tmp_path: Path, capsys: Any):
    one, other = lines(), lines()
    for records in (one, other):
        records[0]["names"] = {**NAMES, "parameters": ["\x1b[2Jevil", "net.bias"]}
    other[2]["parameters"][0] = "ffffffff"
    a = written(tmp_path / "a", one, {"command": ["\x1b]0;title\x07"]})
    main([str(a), str(written(tmp_path / "b", other, {"command": ["b"]}))])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert r"\x1b[2Jevil" in out


def test_a_missing_file_and_runs_without_a_common_update(tmp_path: Path, capsys: Any):
    assert main([str(tmp_path / "nothing"), str(tmp_path)]) == 2
    assert "callbacks=[StateDigest()]" in capsys.readouterr().err
    odd = [lines()[0], *(r for r in lines()[1:] if r["update"] == 5)]
    even = [lines()[0], *(r for r in lines()[1:] if r["update"] == 4)]
    assert main([str(written(tmp_path / "a", odd)), str(written(tmp_path / "b", even))]) == 2
    assert "no update in common" in capsys.readouterr().err


def test_a_picture_of_both_curves(tmp_path: Path, capsys: Any):
    a, b = written(tmp_path / "a", lines()), written(tmp_path / "b", lines())
    picture = tmp_path / "curves.png"
    assert main([str(a), str(b), "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "curves.png: loss" in capsys.readouterr().out


def test_a_picture_has_both_curves_their_difference_and_the_update_at_which_they_part(tmp_path: Path):
    other = lines()
    for update in (4, 5, 6):
        other[1 + update]["parameters"][0] = "ffffffff"
        other[1 + update]["metrics"]["loss"] += 0.25
    a, b = recorded(lines()), recorded(other)
    above, below = curves(a, b, compare(a, b), "loss").axes
    losses = [1.0 / (1 + update) for update in range(7)]
    one, two, parted = above.lines
    assert [one.get_label(), two.get_label()] == ["A", "B"]
    assert list(one.get_xdata()) == list(range(7))
    assert list(one.get_ydata()) == losses
    assert list(two.get_ydata()) == losses[:4] + [loss + 0.25 for loss in losses[4:]]
    assert list(below.lines[0].get_ydata()) == pytest.approx([0] * 4 + [0.25] * 3)
    assert list(parted.get_xdata()) == [4, 4]
    assert above.get_ylabel() == "loss"


def test_odd_numbers_and_names_end_in_no_traceback(tmp_path: Path, capsys: Any):
    odd = [lines()[0], *({**r, "metrics": {"\x1bloss": 0.5, "big": 10**400, "flag": True}} for r in lines()[1:])]
    a = written(tmp_path / "a", odd, {"x": float("nan"), "on": True})
    b = written(tmp_path / "b", odd, {"x": float("nan"), "on": 1})
    (tmp_path / "a" / "manifest-\u00b23.json").write_text("{}")
    assert main([str(a), str(b), "--plot", str(tmp_path / "x.png")]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "  on: True | 1" in out
    assert "  x:" not in out
    assert main([str(a), str(b), "--plot", str(tmp_path / "x.foo")]) == 2
    assert "draws no 'foo'" in capsys.readouterr().err
    assert main([str(tmp_path), str(b)]) == 2
    assert "but in a, b: give one of these" in capsys.readouterr().err


def test_no_picture_without_a_common_metric(tmp_path: Path, capsys: Any):
    bare = [lines()[0], *({**r, "metrics": {"loss": float("nan")}} for r in lines()[1:])]
    a, b = written(tmp_path / "a", lines()), written(tmp_path / "b", bare)
    assert main([str(a), str(b), "--plot", str(tmp_path / "curves.png")]) == 2
    assert "no metric of steps" in capsys.readouterr().err
