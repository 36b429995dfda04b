"""Tests know a run from its user's side; what they read of its insides stands in one file."""

import ast

import pytest

from tests.structure.graph import ROOT

INSIDE = {"engine", "loop", "hooks", "resumed_rng", "redone", "traits"}
# An adapter is a part of the inside, wherever it stands.
FILES = sorted(
    path for path in (ROOT / "tests").rglob("*.py") if path.name != "inside.py" and path.parent.name != "numpy_adapter"
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_internals_of_a_run_are_read_in_one_file(path):
    """A restructuring of Trainer, loop and engines changes tests/inside.py, and the unit tests of the very modules."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in INSIDE]
    read = [f"line {node.lineno}: {ast.unparse(node)}" for node in found if ast.unparse(node.value) != "inside"]
    imported = [f"line {node.lineno}: {node.module}" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    parts = ("functrain.trainer.fit", "functrain.trainer.metrics", "functrain_torch.engine", "functrain_jax.engine")
    assert not [*read, *(line for line in imported if line.endswith(parts))], "ask tests/inside.py"
