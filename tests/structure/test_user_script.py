"""What a type checker tells whoever writes a script: every wrong line, and no right one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from functrain.trainer.hook_table import CALLBACK, DATA, HOOKS, MODULE, Hook
from tests import inside
from tests.structure.graph import ROOT

pytest.importorskip("pyright")
SCRIPTS = sorted((ROOT / "tests" / "structure" / "scripts").glob("*.py"))
CLASSES = {
    "functrain_torch.LightningModule": MODULE,
    "functrain_torch.LightningDataModule": DATA,
    "functrain_torch.Callback": CALLBACK,
    "functrain_jax.Module": MODULE,
}


def reported(folder: Path, *files: Path) -> dict[str, set[int]]:
    """The lines in which pyright finds an error, by file, of copies in the folder."""
    for file in files:
        (folder / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    settings = {
        "include": [file.name for file in files],
        "extraPaths": [str(ROOT), str(ROOT / "adapters")],
        "typeCheckingMode": "basic",
        "reportAttributeAccessIssue": "error",
        "reportOptionalMemberAccess": "error",
    }
    project = folder / "pyrightconfig.json"
    project.write_text(json.dumps(settings), encoding="utf-8")
    command = [sys.executable, "-m", "pyright", "--outputjson", "--project", str(project), "--pythonpath"]
    ran = subprocess.run([*command, sys.executable], capture_output=True, text=True, check=False)
    said = json.loads(ran.stdout)
    assert said["summary"]["filesAnalyzed"] == len(files)
    found: dict[str, set[int]] = {file.name: set() for file in files}
    for one in said["generalDiagnostics"]:
        if one["severity"] == "error":
            found[Path(one["file"]).name].add(one["range"]["start"]["line"] + 1)
    return found


def marked(file: Path) -> set[int]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}


def overrides() -> Iterator[str]:
    """A class a form of override, for every hook of every class: no argument, some, all, any, async, other names."""
    for place, owner in CLASSES.items():
        package, cls = place.split(".")
        left_out = inside.step_hooks() if package == "functrain_jax" else ()
        hooks = [hook for hook in HOOKS if owner in hook.owners and hook.name not in left_out]
        for number, form in enumerate((_none, _first, _all, _any, _typed)):
            yield f"class {cls}{number}Of{package.title().replace('_', '')}({place}):"
            for hook in hooks:
                yield f"    def {hook.name}(self, {form(hook, owner)}):\n        return {{'anything': 3}}"
                yield f"    def call_{hook.name}(self):\n        super().{hook.name}()"


def _args(hook: Hook, owner: str) -> list[str]:
    return [*(("trainer", "pl_module") if owner == CALLBACK else ()), *hook.args]


def _none(hook: Hook, owner: str) -> str:
    return "/"


def _first(hook: Hook, owner: str) -> str:
    return ", ".join(_args(hook, owner)[: 1 if owner != CALLBACK else 3]) or "*_"


def _all(hook: Hook, owner: str) -> str:
    return ", ".join([*_args(hook, owner), "unused=0"])


def _any(hook: Hook, owner: str) -> str:
    return "*args, **kwargs"


def _typed(hook: Hook, owner: str) -> str:
    return ", ".join([*(f"{name}: int" for name in _args(hook, owner)), "*"]).removesuffix("*") or "*_: int"


@pytest.mark.slow
def test_every_wrong_line_is_reported_and_every_right_line_and_override_passes(tmp_path):
    every = tmp_path / "overrides.py"
    imports = "import functrain_jax\nimport functrain_torch\n"
    every.write_text(imports + "\n".join(overrides()) + "\n", encoding="utf-8")
    found = reported(tmp_path, every, *SCRIPTS)
    assert len(every.read_text(encoding="utf-8").splitlines()) > 1000
    assert found == {every.name: set(), **{file.name: marked(file) for file in SCRIPTS}}
