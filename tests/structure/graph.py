"""Reads the import graph of the source tree with `ast`, without importing anything from it."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Import:
    """One imported module: its dotted name, the line, whether the import waits inside a function, and whether a type
    checker alone reads it."""

    target: str
    line: int
    late: bool
    typed: bool = False


def find_modules(*roots: Path) -> dict[str, Path]:
    """Every module below the folders in `roots`, by dotted name; each root is what would be on `sys.path`."""
    found: dict[str, Path] = {}
    for root in roots:
        for package in sorted(path.parent for path in root.glob("*/__init__.py")):
            for path in sorted(package.rglob("*.py")):
                parts = path.relative_to(root).with_suffix("").parts
                found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def project_modules() -> dict[str, Path]:
    """The modules that the distribution installs."""
    modules = find_modules(ROOT, ROOT / "adapters")
    return {name: path for name, path in modules.items() if name.split(".")[0].startswith("functrain")}


def imports_of(name: str, path: Path, known: Mapping[str, Path]) -> list[Import]:
    """What module `name` imports at run time; `from a import b` counts as `a.b` where that is a module."""
    return [each for each in all_imports_of(name, path, known) if not each.typed]


def all_imports_of(name: str, path: Path, known: Mapping[str, Path]) -> list[Import]:
    """What module `name` imports, for a type checker alone too."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return list(_walk(tree, package, known, late=False))


def _walk(node: ast.AST, package: str, known: Mapping[str, Path], late: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and _is_type_checking(child.test):
            for each in _walk(ast.Module(child.body, []), package, known, late):
                yield replace(each, typed=True)
            for other in child.orelse:
                yield from _walk(ast.Module([other], []), package, known, late)
            continue
        yield from _named(child, package, known, late)
        inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _walk(child, package, known, late or inside)


def _named(node: ast.AST, package: str, known: Mapping[str, Path], late: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, node.lineno, late)
    elif isinstance(node, ast.ImportFrom):
        base = _absolute(node, package)
        for target in sorted({_submodule(base, alias.name, known) for alias in node.names}):
            yield Import(target, node.lineno, late)
    elif isinstance(node, ast.Call) and _is_import_module(node.func) and node.args:
        argument = node.args[0]
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            yield Import(argument.value, node.lineno, late)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    parts = parts[: len(parts) - node.level + 1]
    return ".".join([*parts, node.module] if node.module else parts)


def _submodule(base: str, name: str, known: Mapping[str, Path]) -> str:
    return f"{base}.{name}" if f"{base}.{name}" in known else base


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _is_import_module(function: ast.expr) -> bool:
    return (isinstance(function, ast.Name) and function.id in {"import_module", "__import__"}) or (
        isinstance(function, ast.Attribute) and function.attr == "import_module"
    )


def find_cycles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """The groups of modules that import one another in a circle: Tarjan's strongly connected components."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    circles: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in sorted(edges.get(node, ())):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            group = [stack.pop()]
            while group[-1] != node:
                group.append(stack.pop())
            if len(group) > 1 or node in edges.get(node, ()):
                circles.append(sorted(group))

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return circles
