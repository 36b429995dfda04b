"""The engine of a run is small, and what it has to tell it returns: nobody reads anything else of it."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from functrain.trainer.adapter import Engine
from tests import inside
from tests.structure.graph import ROOT

MOST = 12

MEMBERS = {name for name in (*vars(Engine), *inspect.get_annotations(Engine)) if not name.startswith("_")}

OUTSIDE = sorted(path for folder in ("functrain", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.py"))


def reads(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The attributes of an engine that are read or written: of a name `engine`, or of anything's `.engine`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).split(".")[-1] == "engine":
            yield node.lineno, node.attr


def test_an_engine_has_at_most_twelve_members():
    assert 0 < len(MEMBERS) <= MOST, sorted(MEMBERS)


def test_reads_of_an_engine_are_found():
    source = "run.engine.outputs\nengine.facts['now'] = 1\nself.run.engine.train(batches, n)\nrun.clock"
    assert {name for _, name in reads(ast.parse(source))} == {"outputs", "facts", "train"}


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: str(path.relative_to(ROOT)))
def test_nobody_outside_of_an_adapter_reads_more_of_an_engine_than_its_protocol(path: Path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    others = [f"line {line}: engine.{name}" for line, name in reads(tree) if name not in MEMBERS]
    assert not others, "have the engine return it, or add it to the protocol in functrain/trainer/adapter.py"


@pytest.mark.parametrize("engine", inside.engine_types())
def test_an_engine_has_the_members_of_the_protocol_with_its_arguments(engine: type[Engine]):
    for name in MEMBERS:
        asked, given = (list(inspect.signature(getattr(kind, name)).parameters) for kind in (Engine, engine))
        assert asked == given, f"{engine.__name__}.{name}"
