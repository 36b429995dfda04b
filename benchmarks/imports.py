"""How long `import functrain` takes in a fresh process, and that it brings neither torch nor jax."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.measure import machine, median

PROGRAM = """
import sys, time
start = time.perf_counter()
import functrain
print(time.perf_counter() - start, any(name in sys.modules for name in ("torch", "jax", "numpy")))
"""


def main() -> None:
    times, loaded = [], False
    for _ in range(11):
        seconds, heavy = subprocess.run(
            [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
        ).stdout.split()
        times.append(float(seconds))
        loaded = loaded or heavy == "True"
    print(machine("numpy"))
    print()
    print(
        f"`import functrain`: {median(times) * 1e3:.1f} ms (median of {len(times)}); loads torch, jax or numpy: "
        f"{loaded}"
    )


if __name__ == "__main__":
    main()
