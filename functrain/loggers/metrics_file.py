"""A CSV file with named columns, whose rows can be appended and taken back. Touches that file only."""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Mapping
from typing import Any

from functrain import files
from functrain.append_file import AppendFile

_log = logging.getLogger(__name__)
_NUMBERS = (float, int)


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
        self.first = 0
        self._count = 0
        self._rows: AppendFile | None = None
        self._again: tuple[int, int, int] | None = None

    def write(self, row: Mapping[str, Any]) -> None:
        """Add a row. Columns that it has no value for stay empty there, and None is empty too."""
        if self._rows is None:
            self._rows = self._opened()
            self.first = self._count
        if self._again is not None:
            self._superseded(row, *self._again)
        added = [name for name in row if name not in self.columns]
        if added:
            self._rows = self._widened(self._rows, added)
        self._rows.append(_line([row.get(name) for name in self.columns]))
        self._count += 1

    @property
    def rows(self) -> int:
        """How many rows there are, those held back among them."""
        if self._rows is None and files.exists(self.path):
            self._rows = self._opened()
            self.first = self._count
        return self._count

    def rewind(self, step: int, kept: int, first: int) -> None:
        """Take out the rows of later steps than `step`, but for the first `kept`, which were there before them.

        Rows whose steps begin anew are another run's, and stay; so do the first `first`, which came before the run.
        """
        self.flush()
        if not files.exists(self.path):
            return
        self._opened()
        header, rows = self._read()
        steps, last = [_step(header, row) for row in rows], step
        whole = rows[:kept]
        for i in range(kept, len(rows)):
            at = steps[i]
            if at is not None and at < last:
                whole += rows[i:]
                break
            last = last if at is None else at
            if at is None or at == step:
                whole.append(rows[i])
        if len(whole) < len(rows):
            self._write(header, whole)
        self._rows = self._opened()
        self.first = min(first, self._count)
        self._again = (step, self.first, self._count)

    def _superseded(self, row: Mapping[str, Any], step: int, first: int, end: int) -> None:
        """Take out the row of `step` that this one repeats, among those from `first` up to `end`."""
        at = row.get("step")
        if at != step:
            self._again = None if at is not None and at > step else self._again
            return
        self.flush()
        header, rows = self._read()
        names = {name for name, value in row.items() if value is not None}
        for i in range(first, min(end, len(rows))):
            there = {name for name, cell in zip(header, rows[i], strict=False) if cell}
            if _step(header, rows[i]) == step and there == names:
                self._write(header, rows[:i] + rows[i + 1 :])
                self._rows, self._again = self._opened(), (step, first, end - 1)
                return

    def _read(self) -> tuple[list[str], list[list[str]]]:
        with files.open_read(self.path, "r") as file:
            reader = csv.reader(file)
            return next(reader, []), list(reader)

    def _write(self, header: list[str], rows: list[list[str]]) -> None:
        with files.atomic_write(self.path, "w") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *rows])

    def flush(self) -> None:
        """Write out the rows held back."""
        if self._rows is not None:
            self._rows.flush()

    def _opened(self) -> AppendFile:
        files.ensure_directory(os.path.dirname(self.path) or ".")
        self._count = 0
        self.columns = self._continued() if files.exists(self.path) else []
        return AppendFile(self.path)

    def _continued(self) -> list[str]:
        """Return the columns of the existing file, whose rows are whole afterwards."""
        with files.open_read(self.path) as file:
            content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            _log.warning("'%s' ended in a torn row, which is left out: %r", self.path, content[whole:])
            with files.atomic_write(self.path) as file:
                file.write(content[:whole])
        try:
            reader = csv.reader(io.StringIO(content[:whole].decode("utf-8"), newline=""))
            header = next(reader, [])
            self._count = sum(1 for _ in reader)
            return header
        except (csv.Error, UnicodeDecodeError) as error:
            message = f"'{self.path}' is no CSV file and cannot be continued: {error}. Move it away"
            raise ValueError(message) from error

    def _widened(self, rows: AppendFile, added: list[str]) -> AppendFile:
        """Return the file with more columns, by an atomic rewrite where it has rows already."""
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


def _line(values: list[Any]) -> bytes:
    # What csv writes of numbers: nothing of them needs quotes, unless an empty cell stands alone.
    if len(values) > 1 and all(value is None or type(value) in _NUMBERS for value in values):
        return (",".join(["" if value is None else repr(value) for value in values]) + "\n").encode()
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode("utf-8")


def _step(header: list[str], row: list[str]) -> int | None:
    """Return the row's step; None where it has none."""
    cell = dict(zip(header, row, strict=False)).get("step", "")
    return int(cell) if cell.isdecimal() else None
