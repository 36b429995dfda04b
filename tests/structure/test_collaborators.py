"""What the parts of the library hand one another has its own type, which pyright then holds them to."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.structure.graph import ROOT

TYPED = {
    "callbacks": ("list[Any]",),
    "loggers": ("list[Any]",),
    "flags": ("Any",),
    "hooks": ("Any",),
    "moment": ("Any", "str"),
    "players": ("Any", "tuple[Any, ...]"),
}
"""Names of collaborators, and what says nothing about them."""


def annotated(tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """Yield the parameters and attributes with a type: line, name, type."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.annotation is not None:
            yield node.lineno, node.arg, ast.unparse(node.annotation)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.lineno, node.target.id, ast.unparse(node.annotation)


def of_keywords(tree: ast.AST) -> set[int]:
    """The lines of `**flags: Any`, where the type is that of each."""
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return {node.args.kwarg.lineno for node in functions if node.args.kwarg is not None}


def test_a_collaborator_is_never_anything():
    untyped: list[str] = []
    for path in ROOT.glob("functrain/**/*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for line, name, kind in annotated(tree):
            if kind in TYPED.get(name, ()) and line not in of_keywords(tree):
                untyped.append(f"{path.name}:{line} {name}: {kind}")
    assert not untyped
