"""What a run has left to be compared by: its digests, and its manifest. What files hold is checked, never trusted."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeGuard

from functrain import files

FORMAT = 1
DIGESTS = "digests.jsonl"
PARTS = ("parameters", "variables", "optimizer")
LONGEST_LINE = 64 << 20
HIGHEST = 1 << 53
"""No number of updates, epochs or batches is as high."""
LONGEST_MANIFEST = 64 << 20


class RecordsError(ValueError):
    """A run cannot be read; says which file, why, and what to do."""


class Row(NamedTuple):
    """What stands for a run at one update.

    Attributes:
        data: all batches up to here.
        random: the state of each generator, by name.
        parts: of each of `PARTS` the arrays, by name.
        metrics: what the step logged.
    """

    update: int
    epoch: int
    batch: int
    data: str
    random: Mapping[str, str]
    parts: Mapping[str, Mapping[str, str]]
    metrics: Mapping[str, float]


class Part(NamedTuple):
    """A part of a run that was continued, or the whole of one that was not.

    Attributes:
        update: where it began.
        manifest: what it was started with.
    """

    update: int
    manifest: Mapping[str, Any]


@dataclass
class Recorded:
    """A run as it was recorded.

    Attributes:
        path: its file of digests.
        run: its id.
        every: the interval of its rows, in updates.
        rows: by update.
        parts: what it was started with, and what it was continued with each time, in that order; empty where it kept
            no manifest.
        notes: what a reader should know: rows that were left out, another run in the same file.
    """

    path: str
    run: str = ""
    every: int = 0
    rows: dict[int, Row] = field(default_factory=dict)
    parts: Sequence[Part] = ()
    notes: list[str] = field(default_factory=list)


def read_run(path: str | os.PathLike[str]) -> Recorded:
    """Return the last run in a directory, or in a file of digests.

    Raises:
        RecordsError: there is none, or it cannot be read.
    """
    given = os.path.expanduser(os.fspath(path))
    file = files.join(given, DIGESTS) if files.is_dir(given) else given
    if not files.exists(file):
        names = files.list_dir(given) if files.is_dir(given) else []
        below = [name for name in names if files.exists(files.join(given, name, DIGESTS))]
        if below:
            raise RecordsError(f"{file}: there is none, but in {', '.join(sorted(below)[:5])}: give one of these.")
        raise RecordsError(
            f"{file}: there is no such file. Train with callbacks=[StateDigest()], which writes {DIGESTS} beside the "
            "logs of the run, and give that directory."
        )
    found = Recorded(file)
    for record, names in _records(file, found):
        if record["run"] != found.run:
            _begin(found, record)
        elif "format" not in record:
            row = _row(record, names, file)
            if found.rows.get(row.update, row) != row:
                raise RecordsError(f"{file}: it has two rows of update {row.update}, and they are not the same.")
            found.rows[row.update] = row
    if not found.rows:
        raise RecordsError(f"{file}: it holds no row of digests.")
    found.parts = _parts(os.path.dirname(file), found)
    found.notes += [f"it was continued at update {part.update}." for part in found.parts[1:]]
    return found


def _begin(found: Recorded, header: Mapping[str, Any]) -> None:
    """A header of a run that is not the one before: what comes now is its own."""
    if found.run:
        found.notes.append(f"{found.path} holds several runs; the last one is taken, {header['run'][:8]}.")
    found.run, found.every = header["run"], _count(header, "every", found.path)
    found.rows.clear()


def _records(file: str, found: Recorded) -> Iterator[tuple[dict[str, Any], Mapping[str, list[str]]]]:
    """Yield what the lines of a file say, each with the run that it belongs to, and the names that hold there."""
    run, names = "", dict[str, list[str]]()
    with files.open_read(file) as lines:
        number = 0
        while line := lines.readline(LONGEST_LINE + 1):
            number += 1
            if not line.endswith(b"\n"):
                if len(line) > LONGEST_LINE:
                    raise RecordsError(f"{file}: line {number} is longer than {LONGEST_LINE} bytes.")
                found.notes.append(f"{file}: its last row is torn and left out.")
                return
            record = _parsed(line, file, number)
            if "format" in record:
                if record["format"] != FORMAT:
                    raise RecordsError(
                        f"{file}: line {number} says format {str(record['format'])[:40]!r}, and this version of "
                        f"functrain reads {FORMAT}."
                    )
                run, names = _text(record, "run", file), _names(record, file)
            elif not run:
                raise RecordsError(f"{file}: line {number} is a row before any header; StateDigest did not write it.")
            yield {**record, "run": run}, names


def _parsed(line: bytes, file: str, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RecordsError(f"{file}: line {number} is no JSON: {str(error)[:200]}") from None
    if not isinstance(record, dict):
        raise RecordsError(f"{file}: line {number} is a {type(record).__name__}, no record.")
    return record


def _names(header: Mapping[str, Any], file: str) -> dict[str, list[str]]:
    names = header.get("names")
    good = isinstance(names, dict) and all(
        isinstance(names.get(part), list) and all(isinstance(name, str) for name in names[part]) for part in PARTS
    )
    if not good:
        raise RecordsError(f"{file}: a header names no {', '.join(PARTS)}.")
    known: dict[str, list[str]] = names  # type: ignore[assignment]
    for part in PARTS:
        if len({*known[part]}) < len(known[part]):
            raise RecordsError(f"{file}: a header names one of the {part} twice.")
    return {part: known[part] for part in PARTS}


def _row(record: Mapping[str, Any], names: Mapping[str, list[str]], file: str) -> Row:
    update = _count(record, "update", file)
    parts: dict[str, dict[str, str]] = {}
    for part in PARTS:
        digests = record.get(part)
        if not isinstance(digests, list) or len(digests) != len(names[part]):
            raise RecordsError(f"{file}: the row of update {update} has no digest of each of its {part}.")
        parts[part] = {name: str(digest) for name, digest in zip(names[part], digests, strict=True)}
    random, metrics = record.get("random"), record.get("metrics")
    if not isinstance(random, dict) or not isinstance(metrics, dict):
        raise RecordsError(f"{file}: the row of update {update} has no random states, or no metrics.")
    numbers = {name: float(value) for name, value in metrics.items() if isinstance(value, float) or _is_count(value)}
    return Row(
        update, _count(record, "epoch", file), _count(record, "batch", file), _text(record, "data", file),
        {name: str(digest) for name, digest in random.items()}, parts, numbers,
    )  # fmt: skip


def _count(record: Mapping[str, Any], name: str, file: str) -> int:
    value = record.get(name)
    if not _is_count(value):
        raise RecordsError(f"{file}: {name} is {str(value)[:40]!r}, no number from 0.")
    return value


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < HIGHEST


def _text(record: Mapping[str, Any], name: str, file: str) -> str:
    value = record.get(name)
    if not isinstance(value, str):
        raise RecordsError(f"{file}: {name} is {str(value)[:40]!r}, no text.")
    return value


def _parts(directory: str, found: Recorded) -> list[Part]:
    """Return the manifests of this run in its directory, one a part."""
    names = files.list_dir(directory or os.curdir)
    wanted = [name for name in names if name.startswith("manifest") and name.endswith(".json")]
    mine: list[tuple[int, Mapping[str, Any]]] = []
    for name in wanted:
        number = name.removeprefix("manifest").removesuffix(".json").lstrip("-")
        try:
            with files.open_read(files.join(directory, name)) as file:
                text = file.read(LONGEST_MANIFEST + 1)
            manifest = json.loads(text) if len(text) <= LONGEST_MANIFEST else None
        except (OSError, ValueError, RecursionError) as error:
            found.notes.append(f"{files.join(directory, name)} cannot be read: {str(error)[:200]}")
            continue
        if isinstance(manifest, dict) and manifest.get("run") == found.run:
            mine.append((int(number) if number.isdecimal() else 1, manifest))
    if not mine:
        found.notes.append(f"{directory or os.curdir}: no manifest of this run; a logger with a directory keeps one.")
    return [Part(_began(manifest), manifest) for _, manifest in sorted(mine, key=lambda each: each[0])]


def _began(manifest: Mapping[str, Any]) -> int:
    continues = manifest.get("continues")
    update = continues.get("update") if isinstance(continues, dict) else 0
    return update if _is_count(update) else 0
