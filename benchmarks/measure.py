"""What all benchmarks share: interleaved timing, ratios, counting Python calls.

Touches nothing of the project itself.
"""

from __future__ import annotations

import gc
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def interleaved(runs: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Run every contestant once a round, in turn, so that a machine that slows down slows all of them.

    Args:
        runs: name -> a function that gives its own figure, such as microseconds a step.
    """
    figures: dict[str, list[float]] = {name: [] for name in runs}
    for i in range(rounds):
        names = list(runs)
        if i % 2:
            names.reverse()
        for name in names:
            gc.collect()
            figures[name].append(runs[name]())
    return figures


def median(values: list[float]) -> float:
    return statistics.median(values)


def ratios(a: list[float], b: list[float]) -> float:
    """The median of a/b, pair by pair."""
    return median([x / y for x, y in zip(a, b, strict=True)])


def timed(steps: int, run: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Microseconds a step of a run of so many steps, by the wall clock or `time.process_time`."""
    start = clock()
    run()
    return (clock() - start) / steps * 1e6


def python_calls(run: Callable[[], object], own: tuple[str, ...]) -> int:
    """How many Python functions defined in modules below these folders are called during `run`."""
    count = 0

    def profile(frame: object, event: str, arg: object) -> None:
        nonlocal count
        if event == "call":
            filename = frame.f_code.co_filename  # type: ignore[attr-defined]
            count += any(part in filename for part in own)

    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count


def machine(*packages: str) -> str:
    """One line about the machine and the versions, for the tables."""
    names = []
    for package in packages:
        try:
            names.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            names.append(f"{package} (absent)")
    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    return f"{cpu}, {os.cpu_count()} cores, Python {platform.python_version()}, {', '.join(names)}"
