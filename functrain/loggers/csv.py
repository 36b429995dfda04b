"""Metrics as a CSV file that anything can read. Standard library only; touches the run's directory."""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Mapping
from typing import Any

from functrain import files
from functrain.loggers.append import AppendFile
from functrain.loggers.base import numbers
from functrain.loggers.directory import DirectoryLogger

_log = logging.getLogger(__name__)


class MetricsFile:
    """A CSV file with named columns. Rows are appended; the file is written anew only when a column is added.

    An existing file is continued: its rows, its columns and their order stay. A last row that a crash cut
    short is taken off.

    Args:
        path: a local path or a URL. The directory is made at the first row.

    Raises:
        ValueError: at the first row, where the existing file is no CSV. The message names it.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.columns: list[str] = []
        self._rows: AppendFile | None = None

    def write(self, row: Mapping[str, Any]) -> None:
        """Add a row. Columns that it has no value for stay empty there, and None is empty too."""
        if self._rows is None:
            self._rows = self._opened()
        added = [name for name in row if name not in self.columns]
        if added:
            self._rows = self._widened(self._rows, added)
        self._rows.append(_line([row.get(name) for name in self.columns]))

    def flush(self) -> None:
        """Write out the rows held back."""
        if self._rows is not None:
            self._rows.flush()

    def _opened(self) -> AppendFile:
        files.ensure_directory(os.path.dirname(self.path) or ".")
        self.columns = self._continued() if files.exists(self.path) else []
        return AppendFile(self.path)

    def _continued(self) -> list[str]:
        """The columns of the existing file, whose rows are whole afterwards."""
        with files.open_read(self.path) as file:
            content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            _log.warning("'%s' ended in a torn row, which is left out: %r", self.path, content[whole:])
            with files.atomic_write(self.path) as file:
                file.write(content[:whole])
        try:
            return next(csv.reader(io.StringIO(content[:whole].decode("utf-8"), newline="")), [])
        except (csv.Error, UnicodeDecodeError) as error:
            message = f"'{self.path}' is no CSV file and cannot be continued: {error}. Move it away"
            raise ValueError(message) from error

    def _widened(self, rows: AppendFile, added: list[str]) -> AppendFile:
        """The file with more columns, by an atomic rewrite where it has rows already."""
        if not self.columns:
            self.columns = added
            rows.append(_line(added))
            return rows
        rows.flush()
        with files.open_read(self.path, "r") as old, files.atomic_write(self.path, "w") as new:
            writer = csv.writer(new, lineterminator="\n")
            reader = csv.reader(old)
            # The header on the disk counts: another logger may have widened the file since.
            self.columns = list(dict.fromkeys([*next(reader), *added]))
            writer.writerow(self.columns)
            writer.writerows(row + [""] * (len(self.columns) - len(row)) for row in reader)
        return AppendFile(self.path)


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
        self._flushed_at = -flush_logs_every_n_steps
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
        row: dict[str, Any] = {"step": step, **numbers(metrics, self._prefix)}
        if step is not None:
            row["step"] = step
        self.experiment.write(row)
        if step is None or not 0 <= step - self._flushed_at < self._every:
            self.save()
            self._flushed_at = step if step is not None else self._flushed_at

    def log_hyperparams(self, params: Any, metrics: Mapping[str, float] | float | None = None) -> None:
        """Write `hparams.yaml`; `metrics`, where given, become a row (a single number under `hp_metric`)."""
        super().log_hyperparams(params)
        if metrics is not None:
            self.log_metrics(metrics if isinstance(metrics, Mapping) else {"hp_metric": metrics})

    def save(self) -> None:
        """Write out the rows held back."""
        if self._file is not None:
            self._file.flush()


def _line(values: list[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode("utf-8")
