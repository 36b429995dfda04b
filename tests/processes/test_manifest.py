"""Of several processes that train one module the first writes the manifest of the run."""

from __future__ import annotations

import json


def test_the_first_of_two_processes_writes_it_once(pair, tmp_path):
    pair.run("manifest", tmp_path)
    (path,) = tmp_path.rglob("manifest*.json")
    assert json.loads(path.read_text())["processes"] == 2
