"""Run every benchmark, and write the figures with machine and versions into docs/benchmarks_results.md."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = {
    "overhead": "What the Trainer adds to a bare torch loop, on five kinds of models",
    "scan": "JAX: the Trainer against hand-written loops",
    "models": "JAX: six kinds of models against the faster of a jit loop and a scan",
    "memory": "Peak memory against the length of a window",
    "saving": "Checkpoints while the run goes on",
    "digests": "What digests of the state add to a step of the digits networks",
    "imports": "Import",
}
RESULTS = Path(__file__).parent.parent / "docs" / "benchmarks_results.md"


def main() -> None:
    parts = []
    for name in sys.argv[1:] or BENCHMARKS:
        print(f"{name} ...", flush=True)
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}"], stdout=subprocess.PIPE, text=True, check=True
        )
        print(done.stdout)
        parts.append(f"## {BENCHMARKS[name]}\n\n`python -m benchmarks.{name}`\n\n{done.stdout.strip()}\n")
    if not sys.argv[1:]:
        RESULTS.write_text("\n".join(parts))


if __name__ == "__main__":
    main()
