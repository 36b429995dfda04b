"""plain.py: what counts as a plain value, and hyperparameter files that cannot run code."""

from __future__ import annotations

import argparse
import dataclasses
import enum
import math
import os
import subprocess
import sys
import types
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from functrain.trainer.hparams import (
    HyperParameters,
    load_hparams_yaml,
    load_tags_csv,
    save_hparams_yaml,
    storable,
    to_plain,
)

ROOT = Path(__file__).resolve().parents[2]


class Act(enum.Enum):
    RELU = "relu"
    TANH = ("tanh", 2)


class Number(int):
    pass


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "another"


@dataclasses.dataclass
class Config:
    path: Path
    act: Act = Act.RELU


# --- to_plain


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (2.5, 2.5),
        ("ä", "ä"),
        ([1, (2, "x")], [1, (2, "x")]),
        (PurePosixPath("/a/b"), "/a/b"),
        (argparse.Namespace(a=argparse.Namespace(b=1)), {"a": {"b": 1}}),
        (Config(Path("x")), {"path": "x", "act": "relu"}),
        (Act.TANH, ("tanh", 2)),
        (enum.IntEnum("Kind", "ONE TWO").TWO, 2),  # type: ignore[attr-defined]
        (np.float32(0.5), 0.5),
        (np.float64(0.1), 0.1),
        (np.longdouble(0.25), 0.25),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.str_("s"), "s"),
        (Number(4), 4),
        (Text("text"), "text"),
        (HyperParameters(a=1), {"a": 1}),
        (types.MappingProxyType({"a": [1]}), {"a": [1]}),
        ({1: 4, None: 2, 0.5: 3}, {1: 4, None: 2, 0.5: 3}),
    ],
)
def test_plain_values(value, plain):
    got = to_plain(value)
    assert got == plain
    assert type(got) is type(plain)


def test_containers_are_new():
    inner = [1]
    got = to_plain({"a": inner, "b": inner})
    inner.append(2)
    assert got == {"a": [1], "b": [1]}
    assert got["a"] is not got["b"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [1, {"b": object()}]}, r"hparams\['a'\]\[1\]\['b'\] is a object, which cannot be stored"),
        (argparse.Namespace(f=print), r"hparams\['f'\] is a builtin_function_or_method"),
        ({"a": np.zeros(2)}, r"hparams\['a'\] is a numpy.ndarray"),
        ({"a": b"x"}, "is a bytes"),
        ({"a": {1, 2}}, "is a set"),
        ({"a": 1j}, "is a complex"),
        ({"a": np.complex64(1)}, "is a complex"),
        ({"a": np.datetime64("2020-01-01")}, "is a datetime.date"),
        ({"a": Config}, "is a type"),
        ({(1, 2): 3}, r"the key \(1, 2\) of hparams is a tuple"),
        ({object: 3}, "the key .* of hparams is a type"),
    ],
)
def test_an_offender_is_named_with_its_place(value, message):
    with pytest.raises(TypeError, match=message):
        to_plain(value, "hparams")


def test_a_container_in_itself():
    loop: list = [1]
    loop.append(loop)
    with pytest.raises(TypeError, match=r"hparams\['x'\]\[1\] contains itself"):
        to_plain({"x": loop}, "hparams")


def test_storable_names_what_it_leaves_out():
    net = object()
    plain, left_out = storable({"lr": np.float32(0.5), "net": net, "nested": {"ok": 1, "fn": print}, "p": Path("a")})
    assert plain == {"lr": 0.5, "p": "a"}
    assert left_out == ["net", "nested"]
    assert storable(argparse.Namespace(a=1)) == ({"a": 1}, [])
    assert storable(Config(Path("x"))) == ({"path": "x", "act": "relu"}, [])
    with pytest.raises(TypeError, match="hparams is a list"):
        storable([1])


# --- YAML


def same(a: object, b: object) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    return type(a) is type(b) and a == b


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), values, max_size=4))
def test_yaml_gives_back_what_it_was_given(tmp_path_factory, hparams):
    path = tmp_path_factory.getbasetemp() / "roundtrip.yaml"
    save_hparams_yaml(path, hparams)
    assert same(load_hparams_yaml(path), hparams)


@pytest.mark.parametrize(
    "text",
    ["1e-5", "1e5", ".5e3", "1.5", "0x1f", "yes", "null", "2020-01-01", "1:30", "a\x85b", "\u2028", "!!x"],
)
def test_strings_that_look_like_something_else(tmp_path, text):
    save_hparams_yaml(tmp_path / "h.yaml", {"a": text, "b": [text]})
    assert load_hparams_yaml(tmp_path / "h.yaml") == {"a": text, "b": [text]}


def test_yaml_is_readable_and_names_what_is_left_out(tmp_path):
    path = tmp_path / "deep" / "hparams.yaml"
    save_hparams_yaml(path, {"z": 1, "net": object(), "a": (1, 2), "模型": "小", "evil\nname: 1": print})
    text = path.read_text(encoding="utf-8")
    assert text.splitlines()[0] == r"# left out, not plain values: 'net', 'evil\nname: 1'"
    assert load_hparams_yaml(path) == {"z": 1, "a": [1, 2], "模型": "小"}
    assert "模型: 小" in text
    assert yaml.safe_load(text) == load_hparams_yaml(path), "any YAML reader can read it"


def test_handwritten_numbers(tmp_path):
    path = tmp_path / "h.yaml"
    path.write_text("lr: 1e-3\nwd: .5e-2\nbig: 1.5E+6\nn: 100\nname: e5\nmac: 12e\nquoted: '1e-3'\n")
    assert load_hparams_yaml(path) == {
        "lr": 0.001,
        "wd": 0.005,
        "big": 1.5e6,
        "n": 100,
        "name": "e5",
        "mac": "12e",
        "quoted": "1e-3",
    }


def test_an_empty_file_holds_none(tmp_path):
    (tmp_path / "h.yaml").write_text("# nothing\n")
    assert load_hparams_yaml(tmp_path / "h.yaml") == {}
    save_hparams_yaml(tmp_path / "h.yaml", {})
    assert load_hparams_yaml(tmp_path / "h.yaml") == {}


MALICIOUS = {
    "!!python/object/apply:os.system": "a: 1\nx: !!python/object/apply:os.system ['touch {mark}']\n",
    "!!python/object/new:os.system": "x: !!python/object/new:os.system ['touch {mark}']\n",
    "!!python/object/apply:subprocess.check_output": (
        "a:\n- {{b: !!python/object/apply:subprocess.check_output [['touch', '{mark}']]}}\n"
    ),
    "!!python/object/apply:builtins.exec": ("? !!python/object/apply:builtins.exec [\"open({mark!r}, 'w')\"]\n: 1\n"),
    "!!python/name:os.system": "x: !!python/name:os.system\n",
    "!!python/module:this": "x: !!python/module:this\n",
    "!!python/tuple": "x: !!python/tuple [1, 2]\n",
    "!mine": "x: !mine 3\n",
}


@pytest.mark.parametrize("tag", MALICIOUS)
def test_a_malicious_file_runs_nothing(tmp_path, tag):
    mark, path = tmp_path / "mark", tmp_path / "hparams.yaml"
    path.write_text(MALICIOUS[tag].format(mark=str(mark)))
    with pytest.raises(ValueError, match=r"hparams\.yaml', line \d+: the tag .* nothing was run") as raised:
        load_hparams_yaml(path)
    assert f"tag {tag} asks" in str(raised.value)
    assert not mark.exists()


def test_the_malicious_file_would_work_elsewhere(tmp_path):
    mark = tmp_path / "mark"
    text = MALICIOUS["!!python/object/apply:os.system"].format(mark=str(mark))
    yaml.unsafe_load(text)
    assert mark.exists(), "so the test above would see it run"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1, 2", r"bad\.yaml' cannot be read as YAML.*line 1"),
        (b"a: \xff\xfe\x00", "cannot be read as YAML"),
        (b"- 1\n- 2\n", "holds a list"),
        (b"just text", "holds a str"),
        (b"{[1]: 2}", "cannot be read as YAML"),
        (b"a: " + b"[" * 5000, "cannot be read as YAML"),
        (b"a: 1\n---\nb: 2\n", "cannot be read as YAML"),
    ],
)
def test_bad_yaml_names_the_file(tmp_path, content, message):
    (tmp_path / "bad.yaml").write_bytes(content)
    with pytest.raises(ValueError, match="(?s)" + message) as raised:
        load_hparams_yaml(tmp_path / "bad.yaml")
    assert "bad.yaml" in str(raised.value)


def test_a_missing_file_is_named(tmp_path):
    for load in (load_hparams_yaml, load_tags_csv):
        with pytest.raises(FileNotFoundError, match="none"):
            load(tmp_path / "none")


# --- meta_tags.csv


def test_tags_of_test_tube(tmp_path):
    path = tmp_path / "meta_tags.csv"
    path.write_text(
        "key,value\nlr,0.02\nn,3\nflag,True\nnone,None\nname,resnet\n"
        'widths,"[1, 2]"\nopts,"{\'a\': (1, 2)}"\n'
        "quoted,\"'1'\"\nempty,\ncall,__import__('os').getcwd()\nbytes,b'x'\nset,\"{1, 2}\"\nexpression,1+1\n"
    )
    assert load_tags_csv(str(path)) == {
        "lr": 0.02,
        "n": 3,
        "flag": True,
        "none": None,
        "widths": [1, 2],
        "opts": {"a": (1, 2)},
        "name": "resnet",
        "quoted": "1",
        "empty": "",
        "call": "__import__('os').getcwd()",
        "bytes": "b'x'",
        "set": "{1, 2}",
        "expression": "1+1",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"tags\.csv' starts with None; the header must be key,value"),
        ("a,b\n1,2\n", r"starts with \['a', 'b'\]"),
        ("key,value\na,1\nb\n", r"tags\.csv', line 3: \['b'\] has 1 fields"),
        ("key,value\na,1,2\n", "line 2"),
        ('key,value\na,"' + "x" * 200_000 + '"\n', "cannot be read as CSV"),
    ],
)
def test_bad_tags_name_the_file(tmp_path, content, message):
    (tmp_path / "tags.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        load_tags_csv(tmp_path / "tags.csv")


def test_a_deep_literal_stays_a_string(tmp_path):
    deep = "[" * 3000 + "]" * 3000
    (tmp_path / "tags.csv").write_text(f"key,value\na,{deep}\n")
    assert load_tags_csv(tmp_path / "tags.csv") == {"a": deep}


def test_importing_loads_nothing_heavy():
    code = (
        "import sys, functrain.trainer.hparams;"
        "assert not {'numpy', 'yaml', 'torch', 'jax', 'fsspec'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60, env={**os.environ})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2020-01-01", "2020-01-01"),
        ("2020-13-45", "2020-13-45"),
        ("2020-01-01 10:00:00", "2020-01-01 10:00:00"),
        ("12:30", "12:30"),
        ("1:20:30.5", "1:20:30.5"),
        ("=", "="),
        ("1e-3", 0.001),
        ("0x1F", 31),
        (".inf", float("inf")),
        ("yes", True),
    ],
)
def test_odd_scalars_are_what_a_reader_takes_them_for(tmp_path, text, value):
    path = tmp_path / "hparams.yaml"
    path.write_text(f"a: {text}\n")
    assert load_hparams_yaml(path) == {"a": value}
    save_hparams_yaml(path, {"a": value})
    assert load_hparams_yaml(path) == {"a": value}


@pytest.mark.parametrize(
    "text",
    [
        "a: !!int x", "a: !!float x", "a: !!binary aGk=", "a: !!set {x}", "a: !!omap [x: 1]", "a: &x [*x]",
        "a: 1\na: 2", "a: {b: 1, b: 2}", "a: !!timestamp 2020-01-01", "[1, 2]: 3",
    ],
)  # fmt: skip
def test_what_is_no_plain_value_is_an_error_that_names_the_file(tmp_path, text):
    path = tmp_path / "hparams.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"hparams\.yaml"):
        load_hparams_yaml(path)
