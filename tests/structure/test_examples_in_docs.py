"""The Python examples of the documentation run as they stand: those of a page one after another, in an interpreter of
its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.structure.graph import ROOT

PAGES = [
    pytest.param(blocks, id=page.name)
    for page in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
    if (blocks := re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE))
]


@pytest.mark.parametrize("blocks", PAGES)
def test_the_examples_of_a_page_run(blocks: list[str], tmp_path: Path):
    path = os.pathsep.join([str(ROOT), str(ROOT / "adapters")])
    (tmp_path / "page.py").write_text("\n\n".join(blocks))
    done = subprocess.run(
        [sys.executable, "-W", "error::FutureWarning", "page.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
