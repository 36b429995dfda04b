"""Scripts of this folder as processes of their own: importing a framework is what takes the time, so all of a world's
cases are one script."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def results_of(module: str, directory: Path, environment: Mapping[str, str]) -> Any:
    """What the script prints as JSON; it is given the directory, and must end well."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.resume.{module}", str(directory)],
        cwd=ROOT,
        env={**environment, "PYTHONPATH": f"{ROOT}:{ROOT / 'adapters'}"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
