"""The page of the design says of every flag where it is read, and says it truly."""

import ast
import re
from dataclasses import fields

import pytest

from functrain.trainer.flags import Flags
from tests.structure.graph import ROOT

PAGE = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
SECTION = PAGE.split("## Where a flag becomes behaviour")[1].split("\n## ")[0]
ROWS = [line.strip("|").split(" | ") for line in SECTION.splitlines() if line.startswith("| `")]
NAMES = {field.name for field in fields(Flags)}


def flags_of(text):
    return [name for name in re.findall(r"`(\w+)`", text) if name in NAMES]


def read_in(path):
    """The names of attributes and strings in a file, and names put together, as "limit_" + stage + "_batches" is."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    found |= {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    if {"limit_", "_batches"} <= found:
        found |= {f"limit_{stage}_batches" for stage in ("val", "test", "predict")}
    return found


def files_of(text):
    """The files that a row names; a name without a folder stands beside the one before it, or in both adapters."""
    found, folder = [], None
    for name in re.findall(r"`([\w/]+\.py)`", text):
        if "/" in name:
            root = ROOT if name.startswith("functrain/") else ROOT / "adapters"
            folder = (root / name).parent
            found.append([root / name])
        elif folder is not None:
            found.append([folder / name])
        else:
            found.append([ROOT / "adapters" / world / name for world in ("functrain_torch", "functrain_jax")])
    return found


def test_every_flag_has_its_place():
    named = set(flags_of(SECTION))
    assert named == NAMES, f"missing: {NAMES - named}"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_a_flag_is_read_where_the_page_says(row):
    flags, places = row[0], row[1]
    files = files_of(places)
    assert files
    for flag in flags_of(flags):
        paths = [path for group in files for path in group if path.exists()]
        assert any(flag in read_in(path) for path in paths), f"{flag} in {[p.name for p in paths]}"
