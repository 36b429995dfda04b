"""Metrics as a CSV file that anything can read. Standard library only; touches the run's directory."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any

from functrain import files
from functrain.kernel.plan import passed
from functrain.loggers.base import numbers
from functrain.loggers.directory import DirectoryLogger
from functrain.loggers.metrics_file import MetricsFile


class CSVLogger(DirectoryLogger):
    """Writes `metrics.csv`, one row a call and one column a metric, and `hparams.yaml`.

    A run that continues in the same version goes on in the same file.

    Args:
        save_dir: a local path or a URL that fsspec can write.
        name: the experiment; "" or None for no level of its own.
        version: a number N for `version_N`, or the directory's own name; None for the next number.
        prefix: put in front of every metric's name, with a `-`.
        flush_logs_every_n_steps: rows reach the file at the latest when that many steps have passed since the
            last time; `save`, `finalize` and a checkpoint write them out too.

    Raises:
        ValueError: `flush_logs_every_n_steps` is less than 1.
    """

    may_lag = True

    def __init__(
        self,
        save_dir: str | os.PathLike[str],
        name: str | None = "lightning_logs",
        version: int | str | None = None,
        prefix: str = "",
        flush_logs_every_n_steps: int = 100,
    ) -> None:
        super().__init__(save_dir, name, version, prefix)
        if flush_logs_every_n_steps < 1:
            raise ValueError(f"flush_logs_every_n_steps is {flush_logs_every_n_steps}; it must be at least 1")
        self._every = flush_logs_every_n_steps
        self._step: int | None = None
        self._warned = False
        self._file: MetricsFile | None = None

    @property
    def experiment(self) -> MetricsFile:
        """The file of metrics."""
        if self._file is None:
            self._file = MetricsFile(files.join(self.log_dir, "metrics.csv"))
        return self._file

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add a row with the column `step` and one for each metric.

        Args:
            metrics: number by name, also as arrays of one element; NaN and infinities as they are.
            step: updates since the start of training; the cell is empty where it is None.

        Raises:
            TypeError: a value is no number. The message names it.
            OSError: the file cannot be written. The message names it.
        """
        if not self._writes:
            return
        row: dict[str, Any] = {"step": step, **numbers(metrics, self._prefix)}
        if step is not None and row["step"] != step:
            self._warn_of_step(row["step"])
            row["step"] = step
        self.experiment.write(row)
        before, self._step = self._step, self._step if step is None else step
        is_due = step is None or before is None or step < before or passed(self._every, before, step)
        if is_due:
            self.save()

    def _warn_of_step(self, value: float) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"CSVLogger: a metric of the name 'step' ({value}) is not written, as the column of this name holds "
                "the run's steps; log it under another name.",
                UserWarning,
                stacklevel=3,
            )

    def log_hyperparams(self, params: Any, metrics: Mapping[str, float] | float | None = None) -> None:
        """Write `hparams.yaml`; `metrics`, where given, become a row (a single number under `hp_metric`)."""
        super().log_hyperparams(params)
        if metrics is not None:
            self.log_metrics(metrics if isinstance(metrics, Mapping) else {"hp_metric": metrics})

    def state_dict(self) -> dict[str, Any]:
        """Return the directory, how many rows the file has, and how many of them were there before the run."""
        state = super().state_dict() if self._writes else {}
        return {**state, "rows": self.experiment.rows, "first": self.experiment.first} if state else {}

    def rewind(self, step: int, state: Mapping[str, Any]) -> None:
        """In the same directory, the rows of later steps are taken out of the file, which is replaced by one that has
        been written whole. Rows without a step stay, and those that stood there before this run.

        A row of `step` itself gives way to one with the same columns, once that is written again.
        """
        if not self._goes_on(state):
            self.begin_run()
        else:
            kept, first = (each if isinstance(each := state.get(name), int) else 0 for name in ("rows", "first"))
            self.experiment.rewind(step, max(kept, 0), max(first, 0))

    def _holds_records(self) -> bool:
        return self._file is None and files.exists(files.join(self.log_dir, "metrics.csv"))

    def save(self) -> None:
        """Write out the rows held back."""
        if self._file is not None:
            self._file.flush()
