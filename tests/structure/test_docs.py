"""What the documentation names is there: test files, source files, make targets."""

import re
from pathlib import Path

import pytest

from tests.structure.graph import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
NAMED = re.compile(r"`((?:tests|functrain|adapters|examples|benchmarks|docs)/[\w./-]*)`")
WRITTEN_BY_COMMANDS = {"docs/benchmarks_results.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_exist(page: Path):
    named = set(NAMED.findall(page.read_text(encoding="utf-8"))) - WRITTEN_BY_COMMANDS
    assert not [name for name in named if not (ROOT / name).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_make_targets_exist(page: Path):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    lines = re.findall(r"(?:^    |`)make ([a-z][a-z ]*)", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert {word for line in lines for word in line.split()} <= targets
