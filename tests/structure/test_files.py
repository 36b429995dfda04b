"""Form of the source: docstrings, the size of the kernel's step, what the packages carry."""

import ast
import io
import tokenize
import tomllib
from pathlib import Path

import pytest

from tests.structure.graph import ROOT, project_modules

MODULES = project_modules()


@pytest.mark.parametrize("module", MODULES)
def test_module_says_what_it_is_for(module: str):
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    assert (ast.get_docstring(tree) or "").strip(), f"{module} has no docstring"


def code_lines(path: Path) -> int:
    """Counts the lines that hold code: no blank lines, comments or docstrings."""
    source = path.read_text(encoding="utf-8")
    skipped = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    lines = {
        line
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in skipped
        for line in range(token.start[0], token.end[0] + 1)
    }
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            lines -= set(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    return len(lines)


def test_the_step_fits_on_a_screen():
    assert code_lines(MODULES["functrain.kernel.step"]) <= 60


def test_packages_are_typed():
    packages = {name.split(".")[0]: path for name, path in MODULES.items() if "." not in name}
    assert set(packages) == {"functrain", "functrain_torch", "functrain_jax"}
    untyped = [name for name, path in packages.items() if not (path.parent / "py.typed").exists()]
    assert not untyped


def test_one_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    tree = ast.parse((ROOT / "functrain" / "version.py").read_text())
    stated = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__"
    ]
    assert stated == [project["version"]]
    assert f"## [{project['version']}]" in (ROOT / "CHANGELOG.md").read_text()
