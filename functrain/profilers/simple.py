"""How long each action of a run takes, as a table."""

from __future__ import annotations

import math
from array import array
from time import perf_counter
from typing import Any

from functrain.trainer.profiler import Path, Profiler

HEAD = ("Action", "Mean (s)", "Calls", "Total (s)", "Share")


class SimpleProfiler(Profiler):
    """Measures how long each action takes, and tells it in a table, the longest first.

    Actions lie within each other, so their shares of the whole time add up to more than all of it. A report is that of
    one run; what was measured before the first run is a part of its report.

    Args:
        dirpath: the directory of the report; default: that of the run's first logger, else `default_root_dir`.
        filename: the report is added to the file `<stage>-<filename>.txt` there. Without both it is printed.
        extended: the table has the number of calls, and the share of the whole time.

    Attributes:
        recorded_durations: the seconds of every call, by action.
        current_actions: when each action that is under way began.
    """

    def __init__(self, dirpath: Path | None = None, filename: str | None = None, extended: bool = True) -> None:
        super().__init__(dirpath, filename)
        self.extended = extended
        self.recorded_durations: dict[str, array[float]] = {}
        self.current_actions: dict[str, float] = {}
        self._began: float | None = None
        self._ended = 0.0
        self._told = False

    def start(self, action_name: str) -> None:
        """An action begins.

        Raises:
            ValueError: it is under way already.
        """
        if action_name in self.current_actions:
            raise ValueError(
                f"{type(self).__name__}.start({action_name!r}): this action is under way already; stop it first, or "
                "give the inner one another name."
            )
        now = perf_counter()
        if self._began is None:
            self._began = now
        self.current_actions[action_name] = now

    def stop(self, action_name: str) -> None:
        """An action ends.

        Raises:
            ValueError: it has not begun.
        """
        self._ended = perf_counter()
        began = self.current_actions.pop(action_name, None)
        if began is None:
            raise ValueError(f"{type(self).__name__}.stop({action_name!r}): this action was never started.")
        durations = self.recorded_durations.get(action_name)
        if durations is None:
            durations = self.recorded_durations[action_name] = array("d")
        durations.append(self._ended - began)

    def setup(self, stage: str | None = None, local_rank: int | None = None, log_dir: str | None = None) -> None:
        """A run begins: what was told of the one before is forgotten, and what an exception has left under way."""
        super().setup(stage, local_rank, log_dir)
        self.current_actions = {}
        if self._told:
            self.recorded_durations, self._began, self._told = {}, None, False

    def teardown(self, stage: str | None = None) -> None:
        """The run is over; its numbers stay until the next begins."""
        super().teardown(stage)
        self._told = True

    def summary(self) -> str:
        """Return the table; empty where nothing was measured."""
        if not self.recorded_durations or self._began is None:
            return ""
        whole = self._ended - self._began
        rows = [self._row(name, durations, whole) for name, durations in self.recorded_durations.items()]
        rows.sort(key=lambda row: (-float(row[3]), row[0]))
        calls = sum(len(durations) for durations in self.recorded_durations.values())
        table = [HEAD, ("Total", "", str(calls), _seconds(whole), "100.0 %"), *rows]
        if not self.extended:
            table = [(row[0], row[1], row[3]) for row in table]
        stage = f"{self._stage.upper()} " if self._stage else ""
        return f"{stage}Profiler Report\n{_drawn(table)}"

    def _row(self, name: str, durations: array[float], whole: float) -> tuple[str, ...]:
        total = math.fsum(durations)
        share = f"{100 * total / whole if whole else 0:.1f} %"
        return name, _seconds(total / len(durations)), str(len(durations)), _seconds(total), share

    def __getstate__(self) -> dict[str, Any]:
        # The clock of another process, or of a copy that ends nothing, is another.
        return {**vars(self), "current_actions": {}}


def _seconds(value: float) -> str:
    return f"{value:.6f}"


def _drawn(table: list[tuple[str, ...]]) -> str:
    """Return the table in columns, with lines around its head and at its end."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in table]
    rule = "-" * len(lines[0])
    return "\n".join([rule, lines[0], rule, *lines[1:], rule])
