"""The arrows of the design hold: which package may import which, and no circle anywhere."""

import sys
from pathlib import Path

import pytest

from tests.structure.graph import Import, all_imports_of, find_cycles, find_modules, imports_of, project_modules

MODULES = project_modules()
IMPORTS = {name: imports_of(name, path, MODULES) for name, path in MODULES.items()}

FRAMEWORKS = {"torch", "torchmetrics", "jax", "jaxlib", "flax", "optax", "orbax", "tensorstore", "torch_xla"}
ADAPTERS = {
    "functrain_torch": {"jax", "jaxlib", "flax", "optax", "orbax", "tensorstore"},
    "functrain_jax": {"torch", "torchmetrics"},
}

# Who may import whom inside functrain. Modules at the top level (seed and the like) are leaves: everybody but
# the kernel may use them, and they use nobody but the kernel.
ARROWS = {
    "functrain.kernel": set[str](),
    "functrain.trainer": {"functrain.kernel", "functrain.*"},
    "functrain.callbacks": {"functrain.kernel", "functrain.trainer", "functrain.*"},
    "functrain.loggers": {"functrain.kernel", "functrain.trainer", "functrain.*"},
    "functrain.profilers": {"functrain.kernel", "functrain.trainer", "functrain.*"},
    "functrain.testing": {"functrain.kernel", "functrain.trainer", "functrain.*"},
    "functrain.tuner": {"functrain.kernel", "functrain.trainer", "functrain.*"},
    "functrain.*": {"functrain.kernel", "functrain.*"},
    # The composition root gives the Trainer its defaults from packages that the Trainer must not know. Nobody
    # inside functrain imports it; the package's own namespace offers it lazily.
    "functrain.assembly": {
        "functrain.kernel",
        "functrain.trainer",
        "functrain.callbacks",
        "functrain.loggers",
        "functrain.profilers",
        "functrain.tuner",
    },
}


def part(module: str) -> str:
    """The part that a module belongs to: a subpackage of functrain, `functrain.*`, or the adapter."""
    top, _, rest = module.partition(".")
    if top != "functrain":
        return top
    subpackage = f"functrain.{rest.split('.')[0]}"
    return subpackage if subpackage in ARROWS else "functrain.*"


def inner(imports: list[Import]) -> list[Import]:
    return [each for each in imports if each.target.split(".")[0].startswith("functrain")]


def outer(imports: list[Import]) -> list[Import]:
    return [each for each in imports if not each.target.split(".")[0].startswith("functrain")]


def test_tree_was_read():
    assert "functrain.kernel.step" in MODULES
    assert sum(map(len, IMPORTS.values())) > 10


@pytest.mark.parametrize("module", [m for m in MODULES if part(m) in ARROWS and m != "functrain"])
def test_arrows_inside_functrain(module: str):
    allowed = ARROWS[part(module)] | {part(module)}
    wrong = [
        f"{module}:{each.line} imports {each.target}"
        for each in inner(IMPORTS[module])
        if part(each.target) not in allowed
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("module", [m for m in MODULES if part(m) == "functrain.kernel"])
def test_kernel_imports_only_the_standard_library(module: str):
    foreign = [each.target for each in outer(IMPORTS[module])]
    assert not [name for name in foreign if name.split(".")[0] not in sys.stdlib_module_names]


def test_functrain_imports_no_framework():
    wrong = [
        f"{module}:{each.line} imports {each.target}"
        for module in MODULES
        if module.split(".")[0] == "functrain"
        for each in IMPORTS[module]
        if each.target.split(".")[0] in FRAMEWORKS | set(ADAPTERS)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_adapters_do_not_meet(adapter: str):
    forbidden = ADAPTERS[adapter] | (set(ADAPTERS) - {adapter})
    wrong = [
        f"{module}:{each.line} imports {each.target}"
        for module in MODULES
        if module.split(".")[0] == adapter
        for each in IMPORTS[module]
        if each.target.split(".")[0] in forbidden
    ]
    assert not wrong, "\n".join(wrong)


def test_no_import_circle():
    edges = {module: {each.target for each in imports} & set(MODULES) for module, imports in IMPORTS.items()}
    # Names that the package offers lazily are arrows out of it; nobody inside may point back at it.
    assert find_cycles(edges) == []


def test_no_circle_of_types_either():
    """What two files must both know stands in a third, if only a type checker reads it."""
    imports = {name: all_imports_of(name, path, MODULES) for name, path in MODULES.items()}
    edges = {module: {each.target for each in found} & set(MODULES) for module, found in imports.items()}
    assert find_cycles(edges) == []


# ---- the reader of the graph finds what it should, so that the tests above can fail


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        (path.parent / "__init__.py").touch()


def test_reader_finds_a_circle(tmp_path: Path):
    write(
        tmp_path,
        pkg__a="from .b import x\n",
        pkg__b="def f():\n    from pkg import c\n",
        pkg__c="import pkg.a\n",
    )
    modules = find_modules(tmp_path)
    edges = {name: {each.target for each in imports_of(name, path, modules)} for name, path in modules.items()}
    assert find_cycles(edges) == [["pkg.a", "pkg.b", "pkg.c"]]


def test_reader_knows_late_and_type_only_imports(tmp_path: Path):
    write(
        tmp_path,
        pkg__a="""
from typing import TYPE_CHECKING
from importlib import import_module
if TYPE_CHECKING:
    import torch
else:
    import numpy
def f():
    import jax
    return import_module("flax.nnx")
""",
    )
    modules = find_modules(tmp_path)
    found = {each.target: each.late for each in imports_of("pkg.a", modules["pkg.a"], modules)}
    assert found == {"typing": False, "importlib": False, "numpy": False, "jax": True, "flax.nnx": True}
    every = all_imports_of("pkg.a", modules["pkg.a"], modules)
    assert [each.target for each in every if each.typed] == ["torch"]
