"""Sphinx extension: writes the pages that are read from the code into docs/_generated/ before a build.

Hooks come from `functrain.trainer.hook_table.HOOKS`, flags from `functrain.trainer.flags`, the API pages from the
packages' modules, the list of shown laws from the tests, and the benchmarks from the last measured figures.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

from functrain_torch.compat.paths import PATHS

API = {
    "kernel": "functrain.kernel",
    "trainer": "functrain.trainer",
    "callbacks": "functrain.callbacks",
    "loggers": "functrain.loggers",
    "profilers": "functrain.profilers",
    "tuner": "functrain.tuner",
    "testing": "functrain.testing",
    "compare": "functrain.compare",
    "torch": "functrain_torch",
    "jax": "functrain_jax",
}
LAWS = ("kernel", "parity", "golden", "resume")


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("builder-inited", _write_all)
    app.connect("autodoc-skip-member", _skip_tuple_fields)
    app.connect("autodoc-process-docstring", _part_code_from_letters)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _write_all(app: Sphinx) -> None:
    source = Path(app.srcdir)
    out = source / "_generated"
    out.mkdir(exist_ok=True)
    pages = {
        "hooks": hook_table(),
        "flags": flag_table(),
        "older_paths": older_paths(),
        "laws": shown_laws(source.parent / "tests"),
        "benchmarks": benchmark_figures(source),
    }
    pages |= {f"api_{page}": api_page(package) for page, package in API.items()}
    for name, text in pages.items():
        (out / f"{name}.md").write_text(text, encoding="utf-8")


def _skip_tuple_fields(_app: Sphinx, _what: str, _name: str, member: object, skip: bool, _options: Any) -> bool:
    # A named tuple's fields are documented in its class; Python's "Alias for field number 0" says nothing.
    return skip or (getattr(member, "__doc__", None) or "").startswith("Alias for field number")


def _part_code_from_letters(
    _app: Sphinx, _what: str, _name: str, _obj: object, _options: Any, lines: list[str]
) -> None:
    # "`Report`s" is good English, but reStructuredText wants a mark between the code and the letter.
    # Every span is consumed, so that the text between two of them is never taken for one.
    text = re.sub(r"(``.+?``|`[^`]+`)(?=([A-Za-z])?)", _parted, "\n".join(lines), flags=re.DOTALL)
    lines[:] = text.split("\n")


def _parted(span: re.Match[str]) -> str:
    return span[1] + ("\\ " if span[2] else "")


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; a bar within a cell is escaped."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def code(text: object) -> str:
    """Text as inline code; nothing where there is none."""
    return f"`{text}`" if str(text) else ""


def hook_table() -> str:
    """One row a hook, in the table's order."""
    from functrain.trainer.hook_table import HOOKS

    rows = (
        (str(i), code(hook.name), code(", ".join(hook.args)), ", ".join(hook.owners), hook.doc)
        for i, hook in enumerate(HOOKS, 1)
    )
    return table(("", "hook", "arguments", "defined by", "when"), rows)


def flag_table() -> str:
    """The flags with their defaults and help, then the other names, then those that are not built yet."""
    from functrain.trainer import flags
    from functrain.trainer.flagged import help_of_flags
    from functrain_torch.compat.trainer import OLDER_FLAGS

    helps = help_of_flags()
    others: dict[str, list[str]] = {}
    for name, other in (OLDER_FLAGS | flags.ALIASES).items():
        others.setdefault(other.flag, []).append(name)
    known = table(
        ("flag", "default", "what it does", "other names"),
        (
            (
                code(name),
                code(repr(flags.DEFAULTS[name])),
                helps[name],
                ", ".join(map(code, others.get(name, []))),
            )
            for name in flags.NAMES
        ),
    )
    if not flags.LATER:
        return known
    later = table(("flag", "the value that is taken"), ((code(n), code(repr(v))) for n, v in flags.LATER.items()))
    return (
        f"{known}\n## Not available yet\n\nThese are part of the documented interface and are not built yet: "
        f"each takes its default, and any other value is an error that says so.\n\n{later}"
    )


def older_paths() -> str:
    """The older paths of modules, and what each holds."""
    rows = ((code(f"functrain_torch.{path}"), ", ".join(map(code, sorted(PATHS[path])))) for path in sorted(PATHS))
    return table(("path", "names"), rows)


def api_page(package: str) -> str:
    """Autodoc for a package and each of its public modules."""
    found = importlib.import_module(package)
    names = [module.name for module in pkgutil.walk_packages(found.__path__, f"{package}.")]
    older = {f"functrain_torch.{path}" for path in PATHS}
    public = [name for name in names if name not in older and not any(part.startswith("_") for part in name.split("."))]
    return f"# {package}\n\n" + "".join(_automodule(name, name == package) for name in [package, *sorted(public)])


def _automodule(name: str, top: bool) -> str:
    heading = "" if top else f"## {name}\n\n"
    # The package's own namespace repeats what its modules define: only its docstring is wanted there.
    members = "" if top else "   :members:\n   :ignore-module-all:\n   :show-inheritance:\n"
    return f"{heading}```{{eval-rst}}\n.. automodule:: {name}\n{members}```\n\n"


def shown_laws(tests: Path) -> str:
    """What every test of the folders of laws says that it shows: its name, read as a sentence."""
    files = [path for folder in LAWS for path in sorted((tests / folder).rglob("test_*.py"))]
    return "".join(_laws_of(path, path.relative_to(tests.parent).as_posix()) for path in files)


def _laws_of(path: Path, name: str) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    tests = [node for node in functions if node.name.startswith("test_")]
    about = (ast.get_docstring(tree) or "").partition("\n\n")[0].replace("\n", " ")
    lines = "".join(f"- {node.name.removeprefix('test_').replace('_', ' ')}\n" for node in tests)
    return f"### `{name}`\n\n{about}\n\n{lines}\n"


def benchmark_figures(source: Path) -> str:
    """The measured figures that `make bench` wrote; a line that says so where there are none."""
    results = source / "benchmarks_results.md"
    if results.exists():
        return results.read_text(encoding="utf-8")
    return "No figures have been written yet: `make bench` measures and writes them.\n"
