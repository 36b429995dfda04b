"""The curves of two runs and their difference, by matplotlib."""

from __future__ import annotations

import math
import os
from typing import Any

from functrain import files
from functrain.compare.comparison import Comparison
from functrain.compare.records import Recorded, RecordsError


def plot(a: Recorded, b: Recorded, found: Comparison, path: str | os.PathLike[str]) -> str:
    """Draw a metric of both runs over the updates, below it the difference, and where they part. Return its name.

    The metric is the first that both have with 'loss' in its name, else the first that both have.

    Raises:
        RecordsError: there is none, or matplotlib is not installed.
    """
    name = _metric(a, b)
    figure = curves(a, b, found, name)
    kind = os.path.splitext(os.fspath(path))[1].lstrip(".") or "png"
    if kind not in figure.canvas.get_supported_filetypes():
        raise RecordsError(f"--plot {os.fspath(path)}: matplotlib draws no {kind!r}; end the name in .png or .svg.")
    with files.atomic_write(path) as file:
        figure.savefig(file, format=kind)
    return name


def curves(a: Recorded, b: Recorded, found: Comparison, name: str) -> Any:
    """Return the figure: above the metric of both, below what B has more, and a line where they part.

    Raises:
        RecordsError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise RecordsError("--plot needs matplotlib: pip install matplotlib.") from None
    updates = [u for u in found.compared if name in a.rows[u].metrics and name in b.rows[u].metrics]
    one, other = ([run.rows[u].metrics[name] for u in updates] for run in (a, b))
    figure = Figure(figsize=(8, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    above.plot(updates, one, label="A")
    above.plot(updates, other, "--", label="B")
    above.set_ylabel("".join(c for c in name if c.isprintable()).replace("$", r"\$"))
    above.legend()
    below.plot(updates, [y - x for x, y in zip(one, other, strict=True)], color="black")
    below.set_ylabel("B - A")
    below.set_xlabel("update")
    if found.difference is not None:
        for axes in (above, below):
            axes.axvline(found.difference.update, color="red", linewidth=1)
    return figure


def _metric(a: Recorded, b: Recorded) -> str:
    def finite(run: Recorded) -> list[str]:
        names: dict[str, Any] = {}
        for row in run.rows.values():
            names.update({name: None for name, value in row.metrics.items() if math.isfinite(value)})
        return list(names)

    theirs = set(finite(b))
    common = [name for name in finite(a) if name in theirs]
    if not common:
        raise RecordsError(
            "--plot: the runs have logged no metric of steps that both have; use self.log(..., on_step=True)."
        )
    return next((name for name in common if "loss" in name), common[0])
